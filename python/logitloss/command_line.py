"""The ``logitloss`` command: what was built, and a demonstration on real data.

Everything that only the demonstration needs is imported when it runs, so that
``logitloss info`` works with NumPy alone.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import logitloss
from logitloss.benchmark.command import add_bench_parser, bench
from logitloss.output_paths import PLOT_SUFFIXES, plot_path

__all__ = ["main"]

_EXIT_FAILURE = 1
_EXIT_INTERRUPTED = 130  # 128 + SIGINT, as a shell reports it.
_EXIT_BROKEN_PIPE = 141  # 128 + SIGPIPE, likewise.

_LARGEST_SEED = 2**32 - 1

_DESCRIPTION = """\
Binary cross-entropy with logits for NumPy arrays, with gradient and hessian:
accurate in both tails, and compiled for several instruction sets, of which the
best one that this processor has is chosen at run time.
"""

_EXAMPLES = """\
examples:
  logitloss info                    version, instruction set, threads, compiler
  logitloss info --json             the same for programs
  logitloss demo                    train a small network on handwritten digits
  logitloss demo --plot curves.png  and draw the training and loss curves
  logitloss bench --quick           compare the speed with that of other libraries
  logitloss COMMAND --help          the options of one command
"""

_INFO_EXAMPLES = """\
examples:
  logitloss info
  logitloss info --json | python -m json.tool
  cc -c -I"$(logitloss info --include)" program.c
  cmake -B build -Dlogitloss_ROOT="$(logitloss info --cmakedir)"

environment:
  LOGITLOSS_ISA          the instruction set to use instead of the best one
  LOGITLOSS_NUM_THREADS  the default number of threads
"""

_DEMO_DESCRIPTION = """\
Train the network of the usual tutorial (64 - 64 - 32 - outputs, ReLU, Adam) on
scikit-learn's handwritten digits, with NumPy and logitloss as the only loss:
first one output unit (is it an 8?), then ten independent sigmoid outputs.
A table then shows why a loss should be given logits and not probabilities.
"""

_DEMO_EXAMPLES = """\
examples:
  logitloss demo
  logitloss demo --epochs 20 --seed 7
  logitloss demo --plot curves.png
  logitloss demo --quiet && echo passed

exit status:
  0  the loss fell and the network is at least as accurate as a linear model
  1  it is not, or a package that the demonstration needs is missing
  2  the command line is wrong
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments without the program's name; ``sys.argv[1:]`` by default.

    Returns
    -------
    int
        The exit status: 0 for success, 1 for failure, such as output that cannot be
        written, 130 after Ctrl-C, 141 if the reader of the output has gone away.

    Raises
    ------
    SystemExit
        With status 2 for a wrong command line, and with status 0 after
        ``--help`` and ``--version``, as ``argparse`` does.
    """
    if sys.stdout is None:
        _complain("standard output is closed")
        return _EXIT_FAILURE
    try:
        return _run(argv)
    except KeyboardInterrupt:
        _complain("interrupted")
        return _EXIT_INTERRUPTED
    except BrokenPipeError:
        _discard_output()
        return _EXIT_BROKEN_PIPE
    except OSError as error:
        _complain(str(error))
        _discard_output()
        return _EXIT_FAILURE


def _run(argv: Sequence[str] | None) -> int:
    """Parse the arguments and run the command that they name."""
    try:
        arguments = _make_parser().parse_args(argv)
        if arguments.command == "info":
            return _info(arguments)
        if arguments.command == "bench":
            return bench(arguments)
        return _demo(arguments)
    finally:
        # A reader that has gone away is noticed here and not at interpreter exit,
        # where nothing could handle it.
        sys.stdout.flush()


def _complain(problem: str) -> None:
    """Print one line to stderr, unless that is closed: print would take stdout instead."""
    if sys.stderr is not None:
        print(f"logitloss: {problem}", file=sys.stderr)


def _discard_output() -> None:
    """Send what is left in the buffer of stdout nowhere, so that exiting is silent."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


# --- Arguments -------------------------------------------------------------------------


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="logitloss",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"logitloss {logitloss.__version__}")
    commands = parser.add_subparsers(
        title="commands", dest="command", metavar="COMMAND", required=True
    )
    _add_info_parser(commands)
    _add_demo_parser(commands)
    add_bench_parser(commands)
    return parser


def _add_info_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "info",
        help="show the version, instruction set, threads and compiler",
        description="Show how this copy of logitloss was built and what it runs on.",
        epilog=_INFO_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--json", action="store_true", help="print the configuration as JSON")
    only.add_argument(
        "--include", action="store_true", help="print only the folder of the C and C++ headers"
    )
    only.add_argument(
        "--cmakedir", action="store_true", help="print only the folder of the CMake package"
    )


def _add_demo_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "demo",
        help="train a small network on handwritten digits with this loss",
        description=_DEMO_DESCRIPTION,
        epilog=_DEMO_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--epochs",
        type=_epochs,
        default=5,
        metavar="N",
        help="passes over the training images (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=_seed,
        default=0,
        metavar="N",
        help="seed of the split, the weights and the batches (default: %(default)s)",
    )
    parser.add_argument(
        "--plot",
        type=plot_path,
        metavar="FILE",
        help=f"draw the curves into FILE ({', '.join(PLOT_SUFFIXES)})",
    )
    parser.add_argument("--quiet", action="store_true", help="print only the results")
    parser.add_argument("--no-progress", action="store_true", help="show no progress bar")


def _epochs(text: str) -> int:
    return _whole_number(text, smallest=1)


def _seed(text: str) -> int:
    return _whole_number(text, smallest=0, largest=_LARGEST_SEED)


def _whole_number(text: str, *, smallest: int, largest: int | None = None) -> int:
    bounds = f"of at least {smallest}" if largest is None else f"from {smallest} to {largest}"
    try:
        number = int(text)
    except ValueError:
        number = None
    if number is None or number < smallest or (largest is not None and number > largest):
        raise argparse.ArgumentTypeError(f"expected a whole number {bounds}, got {text!r}")
    return number


# --- logitloss info --------------------------------------------------------------------


def _info(arguments: argparse.Namespace) -> int:
    if arguments.include:
        print(logitloss.get_include())
    elif arguments.cmakedir:
        print(logitloss.get_cmake_dir())
    elif arguments.json:
        print(json.dumps(logitloss.config(), indent=2, default=str))
    else:
        print("\n".join(_describe(logitloss.config())))
    return 0


def _describe(config: Mapping[str, Any]) -> list[str]:
    """Return the configuration as lines for people."""
    rows = {
        "instruction set": f"{config['isa']} (available: {_words(config['isas'])})",
        "threads": _words(config["num_threads"]),
        "OpenMP": _words(config["openmp"]),
        "compiler": _words(config["compiler"]),
        "CUDA": _words(config["cuda"]),
    }
    shown = {"version", "isa", "isas", "num_threads", "openmp", "compiler", "cuda"}
    rows |= {key.replace("_", " "): _words(config[key]) for key in config if key not in shown}
    width = max(map(len, rows))
    return [
        f"logitloss {config['version']}",
        *(f"  {name:<{width}}  {value}" for name, value in rows.items()),
    ]


def _words(value: object) -> str:
    """Return a configuration value as it is read aloud."""
    if value is None or value is False:
        return "no"
    if value is True:
        return "yes"
    if isinstance(value, (list, tuple, set, frozenset)):
        return ", ".join(map(str, value))
    return str(value)


# --- logitloss demo --------------------------------------------------------------------


def _demo(arguments: argparse.Namespace) -> int:
    missing = _missing_packages(plot=arguments.plot is not None)
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        print(
            f"logitloss demo: {' and '.join(missing)} {verb} not installed; "
            "install the demonstration with: pip install 'logitloss[demo]'",
            file=sys.stderr,
        )
        return _EXIT_FAILURE

    from logitloss.demo.run import Settings, run_demo

    return run_demo(
        Settings(
            epochs=arguments.epochs,
            seed=arguments.seed,
            plot=arguments.plot,
            quiet=arguments.quiet,
            progress=not (arguments.quiet or arguments.no_progress),
        )
    )


def _missing_packages(*, plot: bool) -> list[str]:
    """Return the names, as pip knows them, of the packages that the demo lacks."""
    needed = {"sklearn": "scikit-learn", "rich": "rich"}
    if plot:
        needed["matplotlib"] = "matplotlib"
    return [name for module, name in needed.items() if importlib.util.find_spec(module) is None]

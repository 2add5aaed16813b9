"""The options of ``logitloss bench``; what needs other packages is imported when it runs."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Sequence
from typing import Final

from logitloss.benchmark.peers import CASES, LIBRARIES, OURS
from logitloss.output_paths import PLOT_SUFFIXES, plot_path, writable_path

__all__ = ["add_bench_parser", "bench"]

_EXIT_FAILURE: Final = 1
_EXIT_USAGE: Final = 2
_DTYPES: Final = ("float16", "float32", "float64")
_QUICK_DTYPES: Final = ("float32",)
_SIZES: Final = (1, 16, 128, *(1 << power for power in range(10, 27, 2)))
_QUICK_SIZES: Final = (1, 128, 1 << 12, 1 << 16, 1 << 20, 1 << 22)
_LADDER_SIZES: Final = (1 << 24,)
_QUICK_LADDER_SIZES: Final = (1 << 20,)
_LARGEST_SIZE: Final = 1 << 30

_DESCRIPTION: Final = """\
Compare the speed of logitloss with that of the libraries that are installed, in
one process, turn by turn, and with the memory's: the time that
numpy.subtract(x, y, out=g) takes. Every answer is checked before it is timed.
"""

_EPILOG: Final = """\
examples:
  logitloss bench --quick                     a minute, float32 only
  logitloss bench --peers numpy,torch.compile
  logitloss bench --case weighted             a weight for each element
  logitloss bench --sizes 2^10,2^20,100000 --dtypes float32,float64 --threads 1
  logitloss bench --plot speed.png --json speed.json
  logitloss bench --ladder                    options and layouts against a plain call

Read ratios: on a shared machine they hold where times do not.

exit status:
  0  everything was measured
  1  an answer of logitloss was wrong, a measurement broke off, or a package that
     the command needs is missing
  2  the command line is wrong
"""


def add_bench_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the others.

    Parameters
    ----------
    commands : object
        What ``add_subparsers`` returned.
    """
    parser = commands.add_parser(
        "bench",
        help="compare the speed with that of other libraries and of the memory",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    others = [name for name in LIBRARIES if name != OURS]
    parser.add_argument(
        "--peers",
        type=_peers,
        metavar="NAME,...",
        help=f"libraries to compare with: {', '.join(others)}, or none (default: those installed)",
    )
    parser.add_argument(
        "--case",
        choices=CASES,
        help="without weights, or with one for each element (default: plain)",
    )
    parser.add_argument(
        "--quick", action="store_true", help="fewer sizes, float32 only, short measurements"
    )
    parser.add_argument(
        "--sizes",
        type=_sizes,
        metavar="N,...",
        help="numbers of elements, such as 1000,2^20 (default: 1 to 2^26)",
    )
    parser.add_argument(
        "--dtypes",
        type=_dtypes,
        metavar="NAME,...",
        help=f"dtypes of logits and targets (default: {','.join(_DTYPES)})",
    )
    parser.add_argument(
        "--threads",
        type=_threads,
        metavar="N,...",
        help="numbers of threads (default: 1 and all processors)",
    )
    parser.add_argument(
        "--plot",
        type=plot_path,
        metavar="FILE",
        help=f"draw the results into FILE ({', '.join(PLOT_SUFFIXES)})",
    )
    parser.add_argument(
        "--json", type=writable_path, metavar="FILE", help="write the results to FILE as JSON"
    )
    parser.add_argument(
        "--ladder",
        action="store_true",
        help="compare calls of logitloss with a plain one: dtypes, options, layouts, small calls",
    )
    parser.add_argument("--no-progress", action="store_true", help="show no progress bar")


def bench(arguments: argparse.Namespace) -> int:
    """Run the command.

    Parameters
    ----------
    arguments : Namespace
        What the parser returned.

    Returns
    -------
    int
        The exit status.
    """
    missing = _missing_packages(plot=arguments.plot is not None)
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        print(
            f"logitloss bench: {' and '.join(missing)} {verb} not installed; "
            "install what it needs with: pip install 'logitloss[bench]'",
            file=sys.stderr,
        )
        return _EXIT_FAILURE
    if arguments.ladder:
        given = [
            name
            for name in ("peers", "case", "dtypes", "threads", "plot")
            if getattr(arguments, name)
        ]
        if given:
            print(f"logitloss bench: --ladder takes no --{given[0]}", file=sys.stderr)
            return _EXIT_USAGE
        from logitloss.benchmark.ladder import run_ladder

        sizes = arguments.sizes or (_QUICK_LADDER_SIZES if arguments.quick else _LADDER_SIZES)
        return run_ladder(
            sizes, quick=arguments.quick, json=arguments.json, progress=not arguments.no_progress
        )

    from logitloss.benchmark.run import Settings, run_bench

    peers = arguments.peers
    if peers is None:
        peers = [name for name, library in LIBRARIES.items() if library.is_installed]
    return run_bench(
        Settings(
            peers=[name for name in peers if name != OURS],
            sizes=arguments.sizes or (_QUICK_SIZES if arguments.quick else _SIZES),
            dtypes=arguments.dtypes or (_QUICK_DTYPES if arguments.quick else _DTYPES),
            threads=arguments.threads or _one_and_all(),
            case=arguments.case or "plain",
            quick=arguments.quick,
            plot=arguments.plot,
            json=arguments.json,
            progress=not arguments.no_progress,
        )
    )


def _one_and_all() -> Sequence[int]:
    """Return one thread, and as many as there are processors that may be used."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    return (1,) if count == 1 else (1, count)


def _missing_packages(*, plot: bool) -> list[str]:
    needed = ["rich", "matplotlib"] if plot else ["rich"]
    return [name for name in needed if importlib.util.find_spec(name) is None]


# --- Arguments -------------------------------------------------------------------------


def _words(text: str) -> list[str]:
    return list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))


def _peers(text: str) -> list[str]:
    """Check that the libraries are known and installed."""
    names = _words(text)
    if names == ["none"]:
        return []
    unknown = [name for name in names if name not in LIBRARIES]
    missing = [name for name in names if name not in unknown and not LIBRARIES[name].is_installed]
    if not names or unknown:
        what = f"unknown: {', '.join(unknown)}" if unknown else "expected at least one name"
        raise argparse.ArgumentTypeError(f"{what}; {_known_libraries()}")
    if missing:
        packages = dict.fromkeys(
            package for name in missing for package in LIBRARIES[name].packages
        )
        raise argparse.ArgumentTypeError(
            f"not installed: {', '.join(missing)}; install with: pip install {' '.join(packages)}"
        )
    return names


def _known_libraries() -> str:
    """Return which libraries are installed, which are not, and how to get those."""
    others = [library for library in LIBRARIES.values() if library.name != OURS]
    installed = [library.name for library in others if library.is_installed]
    absent = [library for library in others if not library.is_installed]
    text = f"installed: {', '.join(installed) or 'none'}"
    if absent:
        packages = dict.fromkeys(package for library in absent for package in library.packages)
        text += (
            f"; not installed: {', '.join(library.name for library in absent)} "
            f"(pip install {' '.join(packages)})"
        )
    return text


def _dtypes(text: str) -> list[str]:
    names = _words(text)
    if not names or any(name not in _DTYPES for name in names):
        raise argparse.ArgumentTypeError(f"expected some of {', '.join(_DTYPES)}, got {text!r}")
    return names


def _sizes(text: str) -> list[int]:
    return [_whole_number(word, _LARGEST_SIZE) for word in _words(text) or [text]]


def _threads(text: str) -> list[int]:
    return [_whole_number(word, 1024) for word in _words(text) or [text]]


def _whole_number(text: str, largest: int) -> int:
    """Read a whole number, or a power such as 2^20."""
    base, caret, exponent = text.partition("^")
    try:
        power = int(exponent) if caret else 1
        number = int(base) ** power if 0 <= power <= 64 else 0
    except ValueError:
        number = 0
    if not 1 <= number <= largest:
        raise argparse.ArgumentTypeError(
            f"expected whole numbers from 1 to {largest}, such as 1000 or 2^10, got {text!r}"
        )
    return number

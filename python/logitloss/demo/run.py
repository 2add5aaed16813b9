"""What ``logitloss demo`` prints, and its verdict."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

import logitloss
from logitloss.demo import tails
from logitloss.demo.peers import TorchUnavailableError, load_torch, torch_value_and_gradient
from logitloss.demo.training import (
    Digits,
    Listener,
    Outcome,
    Task,
    batches_per_epoch,
    digit_tasks,
    linear_accuracy,
    load_scaled_digits,
    train,
)

__all__ = ["Settings", "run_demo"]

_REPORTS_PER_EPOCH = 3
_PLAIN_WIDTH = 100

_TAIL_NOTES = (
    "* is wrong by more than one part in a thousand.",
    "probability: p = 1 / (1 + exp(-x)), then -log(p) or -log(1 - p), and the chain rule",
    "stable formula: max(x, 0) - x*y + log1p(exp(-|x|)), as TensorFlow documents it",
    "PyTorch: (1 - y)*x - log_sigmoid(x), and sigmoid(x) - y for the gradient",
    "Below 1.2e-38 float32 has fewer digits: 3.78e-44 is its nearest number to 3.72e-44.",
)


@dataclass(frozen=True)
class Settings:
    """The options of the command.

    Attributes
    ----------
    epochs : int
        Passes over the training images.
    seed : int
        Seeds the split, the weights and the order of the images.
    plot : Path or None
        Where to draw the curves.
    quiet : bool
        Whether to print only the results.
    progress : bool
        Whether to show a progress bar where the output is a terminal.
    """

    epochs: int = 5
    seed: int = 0
    plot: Path | None = None
    quiet: bool = False
    progress: bool = True


@dataclass(frozen=True)
class _Run:
    """A finished training run, with the accuracy that the linear model reaches."""

    task: Task
    outcome: Outcome
    linear: float


class _Console(Console):
    """A console that leaves a broken pipe to the caller."""

    def on_broken_pipe(self) -> None:
        """Raise again; the base class would exit with status 1."""
        self.quiet = True
        raise BrokenPipeError


def run_demo(settings: Settings) -> int:
    """Run the demonstration.

    Parameters
    ----------
    settings : Settings
        The options of the command.

    Returns
    -------
    int
        0 if in both runs the loss fell and the network is at least as accurate as
        a linear model; otherwise 1, with the reasons on stderr.
    """
    console = _make_console()
    details = _Console(quiet=True) if settings.quiet else console
    digits = load_scaled_digits(settings.seed)
    _print(
        details,
        f"logitloss {logitloss.__version__}: {len(digits.training_images)} handwritten digits "
        f"to learn from, {len(digits.test_images)} to be tested on",
    )

    runs = [_train_and_report(details, settings, digits, task) for task in digit_tasks()]
    torch_outcome = _train_with_torch(details, settings, digits, runs[0])

    _print(details, "")
    _print(console, _results_table(console, runs, torch_outcome))
    _show_tails(details)
    shortcomings = [
        f'in the run "{run.task.name}" {sentence}'
        for run in runs
        for sentence in run.outcome.shortcomings(run.linear)
    ]
    if settings.plot is not None:
        shortcomings += _draw(details, settings.plot, digits, runs, torch_outcome)
    for sentence in shortcomings:
        print(f"logitloss demo: {sentence}", file=sys.stderr)
    return 1 if shortcomings else 0


# --- Output ----------------------------------------------------------------------------


def _make_console() -> _Console:
    """Return a console that writes plain lines where stdout is not a terminal."""
    if sys.stdout.isatty():
        return _Console(highlight=False)
    return _Console(highlight=False, width=_PLAIN_WIDTH, force_terminal=False, color_system=None)


def _print(console: Console, content: str | Text | Table) -> None:
    """Print without rich's markup, and without wrapping lines of text."""
    if isinstance(content, Table) and not console.is_terminal:
        # Rich pads every line with blanks to the width of the table.
        with console.capture() as capture:
            console.print(content)
        lines = (line.rstrip() for line in capture.get().splitlines())
        content = "\n".join(line for line in lines if line)
    console.print(content, markup=False, soft_wrap=not isinstance(content, Table))


def _new_table(console: Console, title: str) -> Table:
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD if console.is_terminal else box.MARKDOWN,
    )


class _Narrator(Listener):
    """Prints the lines of the usual tutorial and moves the progress bar."""

    def __init__(
        self, console: Console, n_batches: int, advance: Callable[[float], None] | None
    ) -> None:
        self._console = console
        self._n_batches = n_batches
        self._interval = max(1, math.ceil(n_batches / _REPORTS_PER_EPOCH))
        self._advance = advance
        self._recent: list[float] = []

    def epoch_starts(self, epoch: int) -> None:
        """Announce the epoch."""
        _print(self._console, f"Starting epoch {epoch}")

    def batch_ends(self, batch: int, loss: float) -> None:
        """Print the mean loss since the last such line, a few times an epoch."""
        self._recent.append(loss)
        if batch % self._interval == 0 or batch == self._n_batches:
            mean = sum(self._recent) / len(self._recent)
            _print(self._console, f"Loss after mini-batch {batch:5d}: {mean:.3f}")
            self._recent.clear()
        if self._advance is not None:
            self._advance(loss)


@contextmanager
def _narrated(console: Console, settings: Settings, n_batches: int) -> Iterator[Listener]:
    """Provide a listener that prints, with a progress bar if one is wanted and possible."""
    if not (settings.progress and console.is_terminal):
        yield _Narrator(console, n_batches, None)
        return
    progress = Progress(
        TextColumn("training"),
        BarColumn(),
        TextColumn("mini-batch {task.completed:.0f}/{task.total:.0f}"),
        TextColumn("{task.fields[loss]}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
    with progress:
        bar: TaskID = progress.add_task("", total=settings.epochs * n_batches, loss="")
        yield _Narrator(
            console,
            n_batches,
            lambda loss: progress.update(bar, advance=1, loss=f"loss {loss:.3f}"),
        )


# --- Training --------------------------------------------------------------------------


def _train_and_report(console: Console, settings: Settings, digits: Digits, task: Task) -> _Run:
    outputs = "one output unit" if task.is_yes_or_no else f"{len(task.digits)} independent outputs"
    _print(console, "")
    _print(console, Text(f"{task.name.capitalize()} ({outputs}, {task.loss!r})", style="bold"))
    if task.smallest_loss > 0.0:
        _print(console, f"Smoothed labels keep this loss above {task.smallest_loss:.3f}.")
    with _narrated(console, settings, batches_per_epoch(digits)) as listener:
        outcome = train(digits, task, epochs=settings.epochs, seed=settings.seed, listener=listener)
    run = _Run(task, outcome, linear_accuracy(digits, task))
    _print(console, f"Test accuracy {outcome.accuracy:.2%}; a linear model has {run.linear:.2%}.")
    return run


def _train_with_torch(
    console: Console, settings: Settings, digits: Digits, run: _Run
) -> Outcome | None:
    """Repeat a run with the loss of PyTorch, or say why not."""
    _print(console, "")
    try:
        torch = load_torch()
    except TorchUnavailableError as reason:
        _print(console, f"{reason}, so its loss is not shown beside this one.")
        return None
    outcome = train(
        digits,
        run.task,
        epochs=settings.epochs,
        seed=settings.seed,
        value_and_gradient=torch_value_and_gradient(torch),
    )
    pairs = zip(run.outcome.batch_losses, outcome.batch_losses, strict=True)
    difference = max(abs(ours - theirs) for ours, theirs in pairs)
    _print(
        console,
        f"The run for one output unit again, with torch.nn.BCEWithLogitsLoss of PyTorch "
        f"{torch.__version__}:\nthe losses of the mini-batches differ by at most "
        f"{difference:.1e}.",
    )
    return outcome


def _results_table(console: Console, runs: list[_Run], torch_outcome: Outcome | None) -> Table:
    table = _new_table(console, "Results: the training loss, and the test accuracy")
    table.add_column("task", no_wrap=True)
    table.add_column("loss by")
    table.add_column("before", justify="right")
    table.add_column("after", justify="right")
    table.add_column("test accuracy", justify="right")
    table.add_column("linear model", justify="right")
    for run in runs:
        _add_result(table, run, "logitloss", run.outcome)
        if torch_outcome is not None and run is runs[0]:
            _add_result(table, run, "PyTorch", torch_outcome)
    return table


def _add_result(table: Table, run: _Run, loss: str, outcome: Outcome) -> None:
    table.add_row(
        run.task.name,
        loss,
        f"{outcome.loss_before:.4f}",
        f"{outcome.loss_after:.4f}",
        f"{outcome.accuracy:.2%}",
        f"{run.linear:.2%}",
    )


# --- Tails and plot --------------------------------------------------------------------


def _show_tails(console: Console) -> None:
    """Print the two tables that show why a loss should be given logits."""
    loss_rows = tails.tail_rows(tails.LOSS_METHODS, tails.exact_loss)
    gradient_rows = tails.tail_rows(tails.GRADIENT_METHODS, tails.exact_gradient)
    _print(console, "")
    _print(console, _tail_table(console, "Why logits: the loss in float32", loss_rows))
    _print(console, "")
    _print(console, _tail_table(console, "Why logits: its gradient in float32", gradient_rows))
    _print(
        console,
        "\n".join(_TAIL_NOTES),
    )


def _tail_table(console: Console, title: str, rows: list[tails.TailRow]) -> Table:
    table = _new_table(console, title)
    for heading in ("x", "y", *rows[0].values, "exact"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            f"{row.logit:+.0f}",
            str(row.target),
            *(_marked(value, row.exact) for value in row.values.values()),
            _short(row.exact) + " ",
        )
    return table


def _marked(value: float, exact: float) -> Text:
    """Return a value with a star if it is wrong, and a blank to align it if not."""
    if tails.is_wrong(value, exact):
        return Text(_short(value) + "*", style="red")
    return Text(_short(value) + " ")


def _short(value: float) -> str:
    # Adding zero turns -0 into 0.
    return f"{value + 0.0:.3g}"


def _draw(
    console: Console,
    path: Path,
    digits: Digits,
    runs: list[_Run],
    torch_outcome: Outcome | None,
) -> list[str]:
    """Draw the curves, and return a sentence if that did not work."""
    from logitloss.demo.plot import TrainingCurve, draw_curves

    one_unit, ten_units = (
        TrainingCurve(run.task.name, run.outcome.batch_losses, run.task.smallest_loss)
        for run in runs
    )
    try:
        draw_curves(
            path,
            one_unit,
            ten_units,
            n_batches=batches_per_epoch(digits),
            torch_losses=None if torch_outcome is None else torch_outcome.batch_losses,
        )
    except OSError as error:
        return [f"cannot write {str(path)!r}: {error.strerror or error}"]
    _print(console, "")
    _print(console, f"The curves are in {path}.")
    return []

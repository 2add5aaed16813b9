"""Prints what was measured: tables for people, and how far along a measurement is."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from logitloss.benchmark.measure import CEILING, Row
from logitloss.benchmark.peers import LIBRARIES, OURS

__all__ = ["Advance", "make_console", "print_text", "progress_bar", "show", "tables"]

_PLAIN_WIDTH = 160
# Below this a call is mostly its overhead, and the ceiling says nothing.
_SMALLEST_FOR_CEILING = 1 << 12


class _Console(Console):
    """A console that leaves a broken pipe to the caller."""

    def on_broken_pipe(self) -> None:
        """Raise again; the base class would exit with status 1."""
        self.quiet = True
        raise BrokenPipeError


class Advance(Protocol):
    """Tells a progress bar that something is done."""

    def __call__(self, what: str) -> None:
        """Advance by one and say what was done."""


def make_console() -> Console:
    """Return a console that writes plain lines where stdout is not a terminal."""
    if sys.stdout.isatty():
        return _Console(highlight=False)
    return _Console(highlight=False, width=_PLAIN_WIDTH, force_terminal=False, color_system=None)


def print_text(console: Console, text: str) -> None:
    """Print without markup and without wrapping."""
    console.print(text, markup=False, soft_wrap=True)


def show(console: Console, table: Table) -> None:
    """Print a table, in plain text without the blanks that pad its lines."""
    if console.is_terminal:
        console.print(table)
        return
    with console.capture() as capture:
        console.print(table)
    print_text(console, "\n".join(line.rstrip() for line in capture.get().splitlines()))


@contextmanager
def progress_bar(total: int, description: str, *, shown: bool) -> Iterator[Advance]:
    """Show on standard error how far along a measurement is, if that is a terminal.

    Parameters
    ----------
    total : int
        The number of steps.
    description : str
        What is being done.
    shown : bool
        Whether to show it at all.

    Yields
    ------
    callable
        To be called after each step, with what that was.
    """
    console = Console(stderr=True)
    if not (shown and console.is_terminal):
        yield lambda _: None
        return
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[what]}"),
        console=console,
        transient=True,
    )
    with progress:
        bar = progress.add_task(description, total=total, what="")
        yield lambda what: progress.update(bar, advance=1, what=what)


# --- Words for numbers -----------------------------------------------------------------


def duration(seconds: float) -> str:
    """Return a time with three digits and its unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{_three_digits(seconds / size)} {unit}"
    return f"{_three_digits(seconds / 1e-9)} ns"


def length(elements: int) -> str:
    """Return a number of elements, powers of two as such."""
    if elements >= 1024 and elements & (elements - 1) == 0:
        return f"2^{elements.bit_length() - 1}"
    return str(elements)


def _three_digits(number: float) -> str:
    if number >= 99.95:
        return f"{number:.0f}"
    return f"{number:.1f}" if number >= 9.995 else f"{number:.2f}"


def _times(ratio: float) -> str:
    return f"{_three_digits(ratio)}x"


# --- Tables ----------------------------------------------------------------------------


def tables(console: Console, rows: Sequence[Row]) -> Iterator[Table]:
    """Yield a table for each number of threads, dtype and operation.

    Parameters
    ----------
    console : Console
        Where they will be printed.
    rows : sequence of Row
        All results.
    """
    for key in dict.fromkeys((row.threads, row.dtype, row.operation) for row in rows):
        some = [row for row in rows if (row.threads, row.dtype, row.operation) == key]
        yield _table(console, some)


def _table(console: Console, rows: Sequence[Row]) -> Table:
    """Return a table with a line for each size or, where that is too wide, for each peer."""
    first = rows[0]
    threads = "1 thread" if first.threads == 1 else f"{first.threads} threads"
    title = f"{first.case} {first.operation}, {first.dtype}, {threads}"
    found = {(row.peer, row.elements): row for row in rows}
    present = {row.peer for row in rows}
    peers = [name for name in LIBRARIES if name in present and name != OURS]
    peers += sorted(present - set(LIBRARIES) - {CEILING})
    lines: list[list[str | Text]] = [["elements", OURS, "of ceiling", *peers]]
    for elements in dict.fromkeys(row.elements for row in rows):
        ours = found.get((OURS, elements))
        lines.append(
            [
                length(elements),
                _own_time(ours),
                _of_ceiling(ours, found.get((CEILING, elements))),
                *(_cell(found.get((peer, elements)), ours) for peer in peers),
            ]
        )
    by_size = _filled(console, title, lines)
    if Measurement.get(console, console.options.update(width=1000), by_size).maximum <= (
        console.width
    ):
        return by_size
    return _filled(console, title, list(zip(*lines, strict=True)))


def _filled(console: Console, title: str, lines: Sequence[Sequence[str | Text]]) -> Table:
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD if console.is_terminal else box.SIMPLE,
        pad_edge=False,
    )
    for heading in lines[0]:
        table.add_column(heading, justify="right", overflow="fold")
    for line in lines[1:]:
        table.add_row(*line)
    return table


def _own_time(row: Row | None) -> str:
    if row is None:
        return ""
    return row.state if row.timing is None else duration(row.timing.seconds)


def _of_ceiling(ours: Row | None, ceiling: Row | None) -> str:
    if ours is None or ours.timing is None or ceiling is None or ceiling.timing is None:
        return ""
    if ours.elements < _SMALLEST_FOR_CEILING * ours.threads:
        return ""
    return f"{ceiling.timing.seconds / ours.timing.seconds:.2f}"


def _cell(row: Row | None, ours: Row | None) -> str | Text:
    """Return how many times as long as this package a peer takes."""
    if row is None:
        return ""
    if row.timing is None:
        return Text(row.state, style="red")
    if ours is None or ours.timing is None:
        return duration(row.timing.seconds)
    return _times(row.timing.seconds / ours.timing.seconds)

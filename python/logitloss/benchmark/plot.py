"""The figures that ``logitloss bench --plot`` draws.

They are made without ``pyplot``, so that no display is needed and nothing global changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from logitloss.benchmark.measure import CEILING, CEILING_CALLS, OPERATIONS, Row
from logitloss.benchmark.peers import LIBRARIES, OURS, Case

__all__ = ["draw"]

# Arrays that a call has to move, each once: those that are read, and a gradient that is written.
_READ: Final[dict[Case, int]] = {"plain": 2, "weighted": 3}
_WRITTEN: Final = {"loss": 0, "loss+gradient": 1}
_GREY: Final = "#8C8C8C"


@dataclass(frozen=True)
class _Style:
    """How one library is drawn."""

    colour: str
    marker: str
    line: Literal["-", "--", ":"] = "-"
    width: float = 1.4


# The palette of Okabe and Ito, which colour-blind readers can tell apart. Two ways to use one
# library share a colour.
_STYLES: Final = {
    OURS: _Style("black", "o", width=2.6),
    "numpy": _Style("#0072B2", "s"),
    "scipy": _Style("#0072B2", "^", "--"),
    "numexpr": _Style("#56B4E9", "D"),
    "numba": _Style("#56B4E9", "v", "--"),
    "scikit-learn": _Style("#009E73", "P"),
    "torch": _Style("#D55E00", "s"),
    "torch.compile": _Style("#D55E00", "^", "--"),
    "torch.compile-new": _Style("#D55E00", "v", ":"),
    "jax": _Style("#CC79A7", "s"),
    "optax": _Style("#CC79A7", "^", "--"),
    CEILING: _Style(_GREY, "", "-", 1.4),
}


def draw(path: Path, rows: Sequence[Row], headline: str) -> list[Path]:
    """Draw time and bytes per second against size, a file for each dtype.

    Parameters
    ----------
    path : Path
        Where float32, or the only dtype, goes; the others have their name added to the stem.
    rows : sequence of Row
        The results that were timed, of one case.
    headline : str
        Version and processor.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    OSError
        If a file cannot be written.
    """
    dtypes = list(dict.fromkeys(row.dtype for row in rows))
    main = "float32" if "float32" in dtypes else dtypes[0]
    paths = []
    for dtype in dtypes:
        where = path if dtype == main else path.with_name(f"{path.stem}-{dtype}{path.suffix}")
        _draw_dtype(where, [row for row in rows if row.dtype == dtype], headline)
        paths.append(where)
    return paths


def _draw_dtype(path: Path, rows: Sequence[Row], headline: str) -> None:
    case = rows[0].case
    counts = list(dict.fromkeys(row.threads for row in rows))
    figure = Figure(figsize=(15.0, 4.4 * len(counts) + 1.1), layout="constrained")
    panels = figure.subplots(len(counts), 3, squeeze=False)
    for line, threads in zip(panels, counts, strict=True):
        some = [row for row in rows if row.threads == threads]
        words = "1 thread" if threads == 1 else f"{threads} threads"
        for ax, operation in zip(line, OPERATIONS, strict=False):
            _draw_times(ax, [row for row in some if row.operation == operation])
            ax.set_title(f"Time: {operation}, {words}", fontsize=11)
        _draw_bytes(line[2], some)
        line[2].set_title(f"Roofline: bytes moved per second, {words}", fontsize=11)
        _same_limits(line[:2])
    figure.suptitle(f"{case}, {rows[0].dtype}: {headline}", fontsize=11)
    names = {row.peer for row in rows}
    known = [name for name in _STYLES if name in names]
    handles = [_handle(name, case) for name in known]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(len(handles), 6), frameon=False
    )
    figure.savefig(path, dpi=110)


def _handle(name: str, case: Case) -> Line2D:
    style = _STYLES[name]
    label = f"ceiling: {CEILING_CALLS[case]}" if name == CEILING else name
    return Line2D(
        [],
        [],
        color=style.colour,
        marker=style.marker,
        linestyle=style.line,
        linewidth=style.width,
        label=label,
    )


def _curve(rows: Sequence[Row], name: str, operation: str) -> tuple[Any, Any]:
    points = sorted(
        (row.elements, row.timing.seconds)
        for row in rows
        if row.peer == name and row.operation == operation and row.timing is not None
    )
    return np.array([n for n, _ in points]), np.array([seconds for _, seconds in points])


def _plot(ax: Axes, name: str, x: Any, y: Any, **changes: Any) -> None:
    style = _STYLES.get(name, _Style(_GREY, "x"))
    options: dict[str, Any] = {
        "color": style.colour,
        "marker": style.marker,
        "markersize": 4.5,
        "linestyle": style.line,
        "linewidth": style.width,
        "zorder": 5 if name == OURS else 3,
    }
    ax.plot(x, y, **(options | changes))


def _draw_times(ax: Axes, rows: Sequence[Row]) -> None:
    for name in (CEILING, *LIBRARIES):
        sizes, seconds = _curve(rows, name, rows[0].operation)
        if sizes.size:
            _plot(ax, name, sizes, seconds)
    _finish_axes(ax)
    ax.set_ylabel("time of a call")
    ax.yaxis.set_major_formatter(FuncFormatter(_time_words))


def _draw_bytes(ax: Axes, rows: Sequence[Row]) -> None:
    """Draw what is achieved below what the memory allows, for each operation."""
    width = np.dtype(rows[0].dtype).itemsize
    # Small calls are overhead, with threads the more so; they would only stretch the axis.
    smallest = 1 << 10 if rows[0].threads == 1 else 1 << 16

    def rate(name: str, operation: str) -> tuple[Any, Any]:
        sizes, seconds = _curve(rows, name, operation)
        large = sizes >= smallest
        arrays = _READ[rows[0].case] + _WRITTEN[operation]
        return sizes[large], arrays * width * sizes[large] / seconds[large] / 1e9

    roof = rate(CEILING, "loss+gradient")
    if not roof[0].size:
        ax.set_axis_off()
        ax.text(0.5, 0.5, f"only from {smallest} elements up", ha="center")
        return
    _plot(ax, CEILING, *roof)
    for name in LIBRARIES:
        if name != OURS:
            _plot(ax, name, *rate(name, "loss+gradient"))
    for operation, line in (("loss", ":"), ("loss+gradient", "-")):
        sizes, rates = rate(OURS, operation)
        _plot(ax, OURS, sizes, rates, linestyle=line, label=f"{OURS}: {operation}")
    _finish_axes(ax)
    # Room for the legend below the slowest.
    low, high = ax.get_ylim()
    ax.fill_between(*roof, low / 4, color=_GREY, alpha=0.15, linewidth=0)
    ax.set_ylim(low / 4, high)
    ax.legend(loc="lower right", frameon=False, fontsize=9, title="the others: loss+gradient")
    ax.set_ylabel("GB/s (inputs read and gradient written, each once)")
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _finish_axes(ax: Axes) -> None:
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    low, high = ax.get_xlim()
    powers = np.arange(0, 31, 4 if high / low > 1 << 10 else 2)
    ax.set_xticks(2.0**powers)
    ax.set_xlim(low, high)
    ax.minorticks_off()
    ax.set_xlabel("elements")
    ax.grid(True, color="0.9", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def _same_limits(panels: Sequence[Axes]) -> None:
    limits = [ax.get_ylim() for ax in panels]
    for ax in panels:
        ax.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))


def _time_words(seconds: float, _: int) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size * 0.999:
            return f"{seconds / size:g} {unit}"
    return f"{seconds / 1e-9:g} ns"

"""Figures of the error against the logit, one row of panels for each library."""

from __future__ import annotations

import pathlib
from typing import Any, Final, TypeAlias

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from numpy.typing import NDArray

__all__ = ["draw"]

Curves: TypeAlias = dict[tuple[str, str, int], NDArray[np.float64]]

RIGHT: Final = "#2b6cb0"
WRONG: Final = "#c53030"
LIMIT: Final = 2.0
FLOOR: Final = 0.1
CEILING: Final = 1e8
LARGEST_PNG: Final = 150 * 1024


def _panel(ax: Any, centres: NDArray[np.float64], envelope: NDArray[np.float64]) -> None:
    height = np.clip(envelope, FLOOR, CEILING)
    ax.fill_between(centres, FLOOR, height, step="mid", color=RIGHT, linewidth=0)
    beyond = np.where(height > LIMIT, height, LIMIT)
    ax.fill_between(centres, LIMIT, beyond, step="mid", color=WRONG, linewidth=0)
    ax.axhline(LIMIT, color="black", linewidth=0.6)


def _axes_of(ax: Any, end: float) -> None:
    ax.set_yscale("log")
    ax.set_ylim(FLOOR, CEILING)
    ax.set_yticks([1, 1e4, 1e8])
    ax.minorticks_off()
    ax.set_xlim(-end, end)
    ax.set_xticks([-100, -50, 0, 50, 100])
    ax.spines[["top", "right"]].set_visible(False)


def _draw_output(curves: Curves, output: str, end: float, path: pathlib.Path) -> None:
    names = list(dict.fromkeys(name for name, kind, _ in curves if kind == output))
    figure, panels = plt.subplots(
        len(names),
        2,
        figsize=(9, 0.6 + 1.05 * len(names)),
        sharex=True,
        sharey=True,
        layout="constrained",
    )
    for row, name in zip(panels, names, strict=True):
        for label, ax in enumerate(row):
            envelope = curves[name, output, label]
            step = 2 * end / envelope.size
            centres = np.arange(envelope.size, dtype=np.float64) * step + (step / 2 - end)
            _panel(ax, np.asarray(centres, np.float64), envelope)
            _axes_of(ax, end)
        row[0].set_title(name, loc="left", fontsize=10, fontweight="bold")
    for label, ax in enumerate(panels[0]):
        ax.set_title(f"y = {label}", loc="right", fontsize=10)
        ax.text(end, 1.3 * LIMIT, "2 ulp", ha="right", va="bottom", fontsize=8)
    figure.supxlabel("logit x", fontsize=10)
    figure.supylabel(f"largest error of the {output} in ulp, float32", fontsize=10)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    if path.stat().st_size > LARGEST_PNG:
        raise ValueError(f"{path} is larger than {LARGEST_PNG} bytes")


def draw(curves: Curves, end: float, directory: pathlib.Path) -> None:
    """Draw the loss and the gradient, for the labels 0 and 1, into PNG files.

    Parameters
    ----------
    curves : dict
        By library, output and label: the largest error in each of many bins from -end to end.
    end : float
        Where the axis ends.
    directory : path
        Where ``accuracy-loss.png`` and ``accuracy-gradient.png`` go.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"font.size": 9, "axes.linewidth": 0.6}):
        for output in ("loss", "gradient"):
            _draw_output(curves, output, end, directory / f"accuracy-{output}.png")

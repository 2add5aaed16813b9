"""The figure that ``logitloss demo --plot`` draws.

It is made without ``pyplot``, so that no display is needed and nothing global changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from logitloss.demo import tails
from logitloss.demo.network import FloatArray

__all__ = ["TrainingCurve", "draw_curves"]

# The palette of Okabe and Ito, which colour-blind readers can tell apart.
_BLUE = "#0072B2"
_ORANGE = "#E69F00"
_VERMILION = "#D55E00"
_GREY = "#595959"

# Zero and infinity are drawn at the lower and upper edge of the logarithmic axes.
_ZERO = 1e-18
_INFINITY = 1e5


@dataclass(frozen=True)
class TrainingCurve:
    """A training run to be drawn.

    Attributes
    ----------
    name : str
        The task.
    losses : sequence of float
        The loss of every mini-batch.
    smallest_loss : float
        The loss of the best possible logits.
    """

    name: str
    losses: Sequence[float]
    smallest_loss: float = 0.0


@dataclass(frozen=True)
class _Style:
    """How one method is drawn."""

    method: str
    label: str
    colour: str
    line: str
    width: float


_LOSS_STYLES = (
    _Style("logitloss", "logitloss", _BLUE, "-", 5.0),
    _Style("PyTorch", "PyTorch's formula", _ORANGE, "-", 2.0),
    _Style("probability", "log of the probability", _VERMILION, "--", 2.0),
)
_GRADIENT_STYLES = (
    _Style("logitloss", "logitloss", _BLUE, "-", 5.0),
    _Style("sigmoid(x) - y", "sigmoid(x) - y, as PyTorch has it", _ORANGE, "-", 2.0),
    _Style("probability", "through the probability", _VERMILION, "--", 2.0),
)


def draw_curves(
    path: Path,
    one_unit: TrainingCurve,
    ten_units: TrainingCurve,
    *,
    n_batches: int,
    torch_losses: Sequence[float] | None = None,
) -> None:
    """Draw the training curves, and the loss and its gradient against the logit.

    Parameters
    ----------
    path : Path
        The file; its suffix chooses the format.
    one_unit, ten_units : TrainingCurve
        The two training runs.
    n_batches : int
        Mini-batches in an epoch.
    torch_losses : sequence of float, optional
        The losses of the first run repeated with PyTorch.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1)
    figure = Figure(figsize=(11.0, 8.0), layout=layout)
    axes = figure.subplots(2, 2)
    _draw_training(axes[0, 0], one_unit, n_batches, torch_losses)
    _draw_training(axes[0, 1], ten_units, n_batches, None)
    _draw_loss(axes[1, 0])
    _draw_gradient(axes[1, 1])
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(True, color="0.9", linewidth=0.8)
        ax.set_axisbelow(True)
    figure.align_ylabels()
    figure.savefig(path, dpi=150)


def _draw_training(
    ax: Axes, curve: TrainingCurve, n_batches: int, torch_losses: Sequence[float] | None
) -> None:
    """Draw the loss of every mini-batch and the mean of every epoch."""
    losses = np.asarray(curve.losses)
    epochs = np.arange(1, len(losses) + 1) / n_batches
    means = losses.reshape(-1, n_batches).mean(axis=1)
    ax.plot(epochs, losses, color=_BLUE, linewidth=2.0, label="logitloss, each mini-batch")
    if torch_losses is not None:
        ax.plot(
            epochs,
            torch_losses,
            color=_ORANGE,
            linewidth=2.0,
            linestyle=(0, (2, 2)),
            label="torch.nn.BCEWithLogitsLoss",
        )
    ax.stairs(
        means,
        np.arange(len(means) + 1),
        baseline=None,
        color="black",
        linewidth=1.2,
        label="logitloss, mean of the epoch",
    )
    if curve.smallest_loss > 0.0:
        ax.axhline(
            curve.smallest_loss,
            color=_GREY,
            linestyle=":",
            linewidth=1.5,
            label="least possible with smoothed labels",
        )
    ax.set_title(f"Training: {curve.name}")
    ax.set_xlabel("epoch")
    ax.set_ylabel("binary cross-entropy")
    ax.set_xlim(0, len(means))
    ax.set_ylim(bottom=0)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(frameon=False)


def _draw_loss(ax: Axes) -> None:
    """Draw the loss for y = 0, whose left tail is lost by the usual formulas."""
    x = np.linspace(-36, 32, 2721, dtype=np.float32)
    _draw_methods(ax, x, 0, tails.LOSS_METHODS, _LOSS_STYLES)
    ax.set_title("Loss for target y = 0, computed in float32")
    ax.set_ylabel("loss")
    ax.legend(frameon=False, loc="center right")


def _draw_gradient(ax: Axes) -> None:
    """Draw the gradient for y = 1, whose right tail is lost by the usual formulas."""
    x = np.linspace(-32, 36, 2721, dtype=np.float32)
    _draw_methods(ax, x, 1, tails.GRADIENT_METHODS, _GRADIENT_STYLES)
    ax.set_title("Gradient for target y = 1, computed in float32")
    ax.set_ylabel("size of the gradient")
    ax.legend(frameon=False, loc="center left")


def _draw_methods(
    ax: Axes,
    x: FloatArray,
    target: int,
    methods: Mapping[str, tails.Method],
    styles: Sequence[_Style],
) -> None:
    """Draw what each method gives, zero and infinity included, on a logarithmic axis."""
    y = np.full_like(x, target)
    for style in styles:
        with np.errstate(all="ignore"):
            size = np.abs(methods[style.method](x, y)).astype(np.float64)
        ax.plot(
            x,
            np.clip(size, _ZERO, _INFINITY),
            color=style.colour,
            linestyle=style.line,
            linewidth=style.width,
            label=style.label,
            clip_on=False,
        )
    ticks = 10.0 ** np.arange(-15, 4, 3)
    ax.set_yscale("log")
    ax.set_yticks([_ZERO, *ticks, _INFINITY])
    ax.set_yticklabels(["0", *(f"$10^{{{round(np.log10(tick))}}}$" for tick in ticks), "infinity"])
    ax.minorticks_off()
    ax.set_ylim(_ZERO, _INFINITY)
    ax.set_xlim(float(x[0]), float(x[-1]))
    ax.set_xlabel("logit x")

"""The loss and its gradient at large logits: usual formulas, this package, and exactly.

The usual formulas are written with NumPy in float32, operation by operation as
their libraries compute them. The exact values come from `numpy.longdouble`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

import logitloss
from logitloss.demo.network import FloatArray

__all__ = [
    "GRADIENT_METHODS",
    "LOSS_METHODS",
    "TAIL_CASES",
    "Method",
    "TailRow",
    "exact_gradient",
    "exact_loss",
    "is_wrong",
    "tail_rows",
]

LongArray: TypeAlias = NDArray[np.longdouble]
Method: TypeAlias = Callable[[FloatArray, FloatArray], FloatArray]

# First the right answers, whose loss and gradient are tiny, then wrong ones.
TAIL_CASES: tuple[tuple[float, int], ...] = (
    (17.0, 1),
    (-17.0, 0),
    (40.0, 1),
    (-40.0, 0),
    (100.0, 1),
    (-100.0, 0),
    (np.inf, 1),
    (-np.inf, 0),
    (17.0, 0),
    (-100.0, 1),
    (np.inf, 0),
    (-np.inf, 1),
)

_TOLERANCE = 1e-3


@dataclass(frozen=True)
class TailRow:
    """One logit with its target, and what each method makes of it.

    Attributes
    ----------
    logit : float
        The logit.
    target : int
        The target, 0 or 1.
    values : dict of str to float
        The result of each method, by its name.
    exact : float
        The exact result.
    """

    logit: float
    target: int
    values: dict[str, float]
    exact: float


def _sigmoid(x: FloatArray) -> FloatArray:
    return np.asarray(np.float32(1) / (np.float32(1) + np.exp(-x)))


def sigmoid_then_log(x: FloatArray, y: FloatArray) -> FloatArray:
    """Return the loss as the textbook has it, from the probability."""
    p = _sigmoid(x)
    return np.where(y == 1, -np.log(p), -np.log(1 - p))


def softplus_form(x: FloatArray, y: FloatArray) -> FloatArray:
    """Return max(x, 0) - x y + log1p(exp(-abs(x))), the form that TensorFlow documents."""
    return np.asarray(np.maximum(x, 0) - x * y + np.log1p(np.exp(-np.abs(x))))


def pytorch_form(x: FloatArray, y: FloatArray) -> FloatArray:
    """Return (1 - y) x - log_sigmoid(x), as PyTorch 2 computes it.

    Notes
    -----
    Source: ``binary_cross_entropy_with_logits`` in ATen/native/Loss.cpp, with
    ``log_sigmoid(x) = min(x, 0) - log1p(exp(-abs(x)))``.
    """
    log_sigmoid = np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))
    return np.asarray((1 - y) * x - log_sigmoid)


def gradient_through_probability(x: FloatArray, y: FloatArray) -> FloatArray:
    """Return the gradient by the chain rule: that of the logarithm, times p (1 - p)."""
    p = _sigmoid(x)
    return np.asarray(np.where(y == 1, -1 / p, 1 / (1 - p)) * (p * (1 - p)))


def sigmoid_minus_target(x: FloatArray, y: FloatArray) -> FloatArray:
    """Return the gradient as sigmoid(x) - y, as PyTorch computes it."""
    return np.asarray(_sigmoid(x) - y)


def _package_loss(x: FloatArray, y: FloatArray) -> FloatArray:
    return np.asarray(logitloss.bce_with_logits(x, y, reduction="none"))


def _package_gradient(x: FloatArray, y: FloatArray) -> FloatArray:
    return np.asarray(logitloss.bce_with_logits_grad(x, y, reduction="none"))


LOSS_METHODS: dict[str, Method] = {
    "probability": sigmoid_then_log,
    "stable formula": softplus_form,
    "PyTorch": pytorch_form,
    "logitloss": _package_loss,
}
"""The ways to compute the loss, by the name that the table gives them."""

GRADIENT_METHODS: dict[str, Method] = {
    "probability": gradient_through_probability,
    "sigmoid(x) - y": sigmoid_minus_target,
    "logitloss": _package_gradient,
}
"""The ways to compute the gradient, by the name that the table gives them."""


def exact_loss(x: FloatArray, y: FloatArray) -> LongArray:
    """Return the loss for targets 0 and 1 in higher precision."""
    z = np.where(y == 1, -x, x).astype(np.longdouble)
    return np.asarray(np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z))))


def exact_gradient(x: FloatArray, y: FloatArray) -> LongArray:
    """Return the gradient for targets 0 and 1 in higher precision."""
    z = np.where(y == 1, -x, x).astype(np.longdouble)
    e = np.exp(-np.abs(z))
    return np.asarray(np.where(y == 1, -1, 1) * np.where(z >= 0, 1, e) / (1 + e))


def is_wrong(value: float, exact: float) -> bool:
    """Return whether a float32 result misses the exact one by over one part in a thousand.

    The nearest float32 is always right, also below 1e-38 where they lie far apart.
    """
    if not np.isfinite(value) or not np.isfinite(exact):
        return value != exact
    nearest = np.float32(exact)
    return abs(value - exact) > max(_TOLERANCE * abs(exact), float(np.spacing(abs(nearest))))


def tail_rows(
    methods: dict[str, Method], exact: Callable[[FloatArray, FloatArray], LongArray]
) -> list[TailRow]:
    """Return a row for each of the cases of the table.

    Parameters
    ----------
    methods : dict of str to callable
        `LOSS_METHODS` or `GRADIENT_METHODS`.
    exact : callable
        `exact_loss` or `exact_gradient`.

    Returns
    -------
    list of TailRow
        In the order of `TAIL_CASES`.
    """
    x = np.array([logit for logit, _ in TAIL_CASES], dtype=np.float32)
    y = np.array([target for _, target in TAIL_CASES], dtype=np.float32)
    # That the usual formulas overflow and divide by zero here is what the table shows.
    with np.errstate(all="ignore"):
        columns = {name: method(x, y) for name, method in methods.items()}
        truth = exact(x, y)
    return [
        TailRow(
            logit=logit,
            target=target,
            values={name: float(column[row]) for name, column in columns.items()},
            exact=float(truth[row]),
        )
        for row, (logit, target) in enumerate(TAIL_CASES)
    ]

"""What XGBoost, LightGBM and CatBoost need alike: derivatives, metrics and intercepts of a loss.

Boosters grow trees from the derivative of each element's own loss. So the reduction of the loss
is set to a sum, and never divides.
"""

from __future__ import annotations

import numbers
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Self

# A margin so far out that the label on its own side costs nothing that a float64 would notice,
# and near enough for exp(-margin) to be a normal number.
_FARTHEST_MARGIN = 700.0
_MOST_STEPS = 200


class Loss(Protocol):
    """What the adapters use of a loss, such as `logitloss.BCEWithLogitsLoss`."""

    def __call__(
        self, logits: ArrayLike, targets: ArrayLike, *, weight: ArrayLike | None = None
    ) -> Any:
        """Return the reduced loss."""

    def grad(
        self, logits: ArrayLike, targets: ArrayLike, *, weight: ArrayLike | None = None
    ) -> NDArray[Any]:
        """Return the gradient of the reduced loss."""

    def grad_hess(
        self, logits: ArrayLike, targets: ArrayLike, *, weight: ArrayLike | None = None
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return gradient and diagonal hessian of the reduced loss."""

    def __replace__(self, /, **changes: Any) -> Self:
        """Return a copy with other options."""


@dataclass(frozen=True)
class Adapter:
    """A loss in the shape in which a booster calls it.

    Attributes
    ----------
    loss : loss object
        With its reduction set to a sum.
    """

    loss: Loss


@dataclass(frozen=True)
class ObjectiveAdapter(Adapter):
    """A loss as an objective.

    Attributes
    ----------
    loss : loss object
        With its reduction set to a sum.
    min_hessian : float
        Smallest hessian of an element that counts.
    """

    min_hessian: float


@dataclass(frozen=True)
class MetricAdapter(Adapter):
    """A loss as a metric with a name.

    Attributes
    ----------
    loss : loss object
        With its reduction set to a sum.
    name : str
        What the booster calls it.
    """

    name: str


def summed(loss: Loss) -> Loss:
    """Return the loss with its reduction set to a sum over everything.

    Raises
    ------
    TypeError
        If it is no loss object.
    ValueError
        If NaN marks its missing labels.
    """
    methods = ("grad", "grad_hess", "__replace__")
    if isinstance(loss, type) or not all(hasattr(loss, method) for method in methods):
        raise TypeError(
            "loss must be a loss object of logitloss, such as "
            f"logitloss.BCEWithLogitsLoss(ignore_index=-1), not {loss!r}"
        )
    loss = loss.__replace__(reduction="sum", axis=None)
    if _takes_nan_for_missing(loss):
        raise ValueError(
            "the loss takes NaN for a missing label, and no booster hands NaN labels on: mark "
            "missing labels with a number, as in numpy.where(numpy.isnan(labels), -1, "
            "labels), and give the loss ignore_index=-1"
        )
    return loss


def _takes_nan_for_missing(loss: Loss) -> bool:
    """Find out whether NaN is the sentinel of the loss; a loss without that option has none."""
    try:
        return bool(loss == loss.__replace__(ignore_index=float("nan")))
    except TypeError:
        return False


def checked_min_hessian(min_hessian: float) -> float:
    """Return the smallest hessian as a float, or refuse it."""
    if not isinstance(min_hessian, numbers.Real):
        raise TypeError(f"min_hessian must be a number, not {min_hessian!r}")
    if not 0 <= min_hessian < float("inf"):
        raise ValueError(f"min_hessian must be a finite number >= 0, not {min_hessian!r}")
    return float(min_hessian)


def aligned(
    margins: ArrayLike, labels: ArrayLike | None, weight: ArrayLike | None
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None]:
    """Return margins and labels of one shape, and a weight a row that is broadcast against them.

    Margins become float32 or float64 in the processor's byte order, whatever they were.

    Raises
    ------
    ValueError
        If there is not one label for each margin, or not one weight for each row.
    """
    margins = np.asarray(margins)
    if margins.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        margins = margins.astype(np.float64)
    labels = np.asarray([] if labels is None else labels)
    # Some versions of XGBoost hand a matrix of labels over as one row-major array.
    if labels.shape != margins.shape and (labels.ndim != 1 or labels.size != margins.size):
        raise ValueError(
            f"there must be one label for each margin, but the margins have shape {margins.shape} "
            f"and the labels {labels.shape}; a model of several classes has more margins than "
            "labels, and a classifier takes the sentinel of missing labels for a further class: "
            "use a regressor or the library's train function with labels 0, 1 and the sentinel"
        )
    return margins, labels.reshape(margins.shape), column(weight, margins)


def column(weight: ArrayLike | None, values: NDArray[Any]) -> NDArray[Any] | None:
    """Return row weights in a shape that is broadcast over the columns of the values."""
    if weight is None or np.size(weight) == 0:
        return None
    weight = np.asarray(weight)
    if weight.shape != values.shape[:1]:
        raise ValueError(
            f"there must be one weight for each of {len(values)} rows, but the weights have shape "
            f"{weight.shape}"
        )
    return weight.reshape(-1, *(1,) * (values.ndim - 1))


def derivatives(
    loss: Loss,
    margins: NDArray[Any],
    labels: NDArray[Any],
    weight: NDArray[Any] | None,
    min_hessian: float,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return gradient and hessian in C order, with hessians of at least `min_hessian`.

    Elements that do not exist, or have no weight, keep a hessian of 0.

    Raises
    ------
    ValueError
        If a derivative is NaN or infinite, which boosters take without a word.
    """
    grad, hess = loss.grad_hess(margins, labels, weight=weight)
    _refuse_unless_finite(grad, hess, margins, labels)
    if hess.size and hess.min() < min_hessian:
        low = (hess < min_hessian) & _counts(loss, margins, labels, weight)
        np.copyto(hess, min_hessian, where=low)
    return np.ascontiguousarray(grad), np.ascontiguousarray(hess)


def _counts(
    loss: Loss, margins: NDArray[Any], labels: NDArray[Any], weight: NDArray[Any] | None
) -> NDArray[Any]:
    """Return which elements exist and have a weight: at margin 0 no derivative vanishes."""
    zeros = np.broadcast_to(np.zeros((), margins.dtype), margins.shape)
    grad, hess = loss.grad_hess(zeros, labels, weight=weight)
    return np.asarray((grad != 0) | (hess != 0))


def _refuse_unless_finite(
    grad: NDArray[Any], hess: NDArray[Any], margins: NDArray[Any], labels: NDArray[Any]
) -> None:
    # A sum takes a third of the time, and is finite only where all of its terms are.
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(grad.sum()) and np.isfinite(hess.sum()):
            return
    finite = np.isfinite(grad) & np.isfinite(hess)
    if finite.all():
        return
    first = tuple(int(i) for i in np.argwhere(~finite)[0])
    raise ValueError(
        f"the gradient at {first} is {grad[first]} and the hessian {hess[first]}, for margin "
        f"{margins[first]} and label {labels[first]}: margins, labels and weights must be numbers, "
        "and weights finite"
    )


def mean_loss(total: float, weight: float) -> float:
    """Return the weighted mean from the two sums of `loss_and_weight`.

    Raises
    ------
    ValueError
        If it is not a number.
    """
    if weight == 0 or np.isnan(total):
        raise ValueError(
            f"the metric is not a number: the losses sum to {total} and the weights of the labels "
            f"that exist to {weight}"
        )
    return total / weight


def loss_and_weight(
    loss: Loss, margins: NDArray[Any], labels: NDArray[Any], weight: NDArray[Any] | None
) -> tuple[float, float]:
    """Return the sum of the weighted losses, and that of the weights of the labels that exist.

    The latter is found from two reductions of the same losses, so that it is that of
    ``reduction='weighted_mean'`` for any loss.
    """
    zeros = np.zeros(labels.shape)
    at_zero = float(loss(zeros, labels, weight=weight))
    if at_zero == 0:
        return 0.0, 0.0
    mean = float(loss.__replace__(reduction="weighted_mean")(zeros, labels, weight=weight))
    return float(loss(margins, labels, weight=weight)), at_zero / mean


def intercept(
    labels: ArrayLike, loss: Loss, *, weight: ArrayLike | None = None
) -> float | NDArray[np.float64]:
    """Return the constant margin that minimises the loss: where boosting should start.

    For binary cross-entropy it is the log-odds of the labels that exist, with all weights:
    log(sum(weight pos_weight y) / sum(weight (1 - y))). For other losses it is found by steps
    that fit such a sum to gradient and hessian, and by bisection where they lead astray.

    Parameters
    ----------
    labels : array_like of shape (n,) or (n, k)
        The labels, with the sentinel of the loss where one is missing.
    loss : loss object
        Such as `logitloss.BCEWithLogitsLoss`; its reduction does not matter.
    weight : array_like of shape (n,), optional
        A weight for each row.

    Returns
    -------
    float or ndarray of shape (k,)
        The margin, or that of each target; a logit, not a probability.

    Raises
    ------
    ValueError
        If a target has not both a positive and a negative label, so that no finite margin is
        best; if shapes do not fit, or a label is NaN or otherwise bad.

    Examples
    --------
    >>> import logitloss
    >>> loss = logitloss.BCEWithLogitsLoss(ignore_index=-1, pos_weight=3.0)
    >>> intercept([1, 0, 0, 0, -1], loss)  # as many positives as negatives, with that weight
    0.0
    """
    loss = summed(loss)
    labels = np.asarray(labels)
    if labels.ndim not in (1, 2):
        raise ValueError(f"labels must have shape (n,) or (n, k), not {labels.shape}")
    weight = column(weight, labels)

    def total(margin: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        grad, hess = loss.grad_hess(np.broadcast_to(margin, labels.shape), labels, weight=weight)
        return np.asarray(grad.sum(axis=0)), np.asarray(hess.sum(axis=0))

    low = np.full(labels.shape[1:], -_FARTHEST_MARGIN)
    high = -low
    bounded = (total(low)[0] < 0) & (total(high)[0] > 0)
    if not bounded.all():
        where = f" target {np.argmin(bounded)} has not" if labels.ndim == 2 else " there are not"
        raise ValueError(
            f"the best intercept is not finite:{where} both a positive and a negative label that "
            "exists and has a weight; leave such a target out, or choose its intercept yourself"
        )
    margin = _root(total, low, high)
    return float(margin) if labels.ndim == 1 else margin


def _root(total: Any, low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where the summed gradient vanishes, between margins where it is negative, positive."""
    margin = np.zeros(low.shape)
    for _ in range(_MOST_STEPS):
        grad, hess = total(margin)
        low, high = np.where(grad < 0, margin, low), np.where(grad > 0, margin, high)
        step = _log_odds(margin, grad, hess)
        following = np.where((low <= step) & (step <= high), step, (low + high) / 2)
        if np.all(abs(following - margin) <= 1e-12 * np.maximum(abs(margin), 1)):
            return following
        margin = following
    raise ArithmeticError(f"no intercept was found in {_MOST_STEPS} steps; the loss has no minimum")


def _log_odds(
    margin: NDArray[np.float64], grad: NDArray[np.float64], hess: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the best margin of the cross-entropy that has these derivatives at this margin.

    With sums P of the positive and N of the negative weights, the gradient is N s - P c and the
    hessian (N + P) s c, where s = sigmoid(margin) and c = 1 - s. NaN where no such sums exist.
    """
    with np.errstate(all="ignore"):
        s, c = 1 / (1 + np.exp(-margin)), 1 / (1 + np.exp(margin))
        both = hess / (s * c)
        return np.asarray(np.log((both * s - grad) / (both * c + grad)))

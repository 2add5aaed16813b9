"""Losses of `logitloss` as objectives and metrics of CatBoost.

CatBoost wants derivatives of the negative loss, in an array of two columns, and weights applied;
a result of another layout leaves a model of zeros behind, without an exception. `objective` and
`metric` give it what it wants. With several targets each row may miss some of its labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from logitloss.integrations import _boosting
from logitloss.integrations._boosting import Loss, intercept
from logitloss.integrations._optional import require

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Self

catboost: Any = require("catboost", "catboost")

__all__ = [
    "Metric",
    "MultiTargetMetric",
    "MultiTargetObjective",
    "Objective",
    "intercept",
    "metric",
    "objective",
]


@overload
def objective(
    loss: Loss, *, multi_target: Literal[False] = False, min_hessian: float = 0.0
) -> Objective: ...
@overload
def objective(
    loss: Loss, *, multi_target: Literal[True], min_hessian: float = 0.0
) -> MultiTargetObjective: ...
@overload
def objective(
    loss: Loss, *, multi_target: bool, min_hessian: float = 0.0
) -> Objective | MultiTargetObjective: ...
def objective(
    loss: Loss, *, multi_target: bool = False, min_hessian: float = 0.0
) -> Objective | MultiTargetObjective:
    """Return a loss as an objective of CatBoost.

    Give it to ``CatBoost({"loss_function": ..., "eval_metric": ...})`` or
    ``CatBoostRegressor(loss_function=..., eval_metric=...)``. Weights of rows multiply gradient
    and hessian as they do in CatBoost's own objectives.

    Parameters
    ----------
    loss : loss object
        Such as `logitloss.BCEWithLogitsLoss`. Its reduction does not matter. ``ignore_index``
        marks missing labels: CatBoost takes no NaN. ``pos_weight`` weights the positive part of
        the loss. To do exactly what ``scale_pos_weight`` does, which CatBoost refuses beside an
        objective of one's own, multiply the weights of the rows instead: they have a say in its
        regularisation too.
    multi_target : bool
        True for labels of shape (n, k). CatBoost then calls the objective for one row at a time.
    min_hessian : float
        Smallest hessian of an element that exists and has a weight. The default is CatBoost's.
        Missing elements keep 0.

    Returns
    -------
    Objective or MultiTargetObjective
        Can be pickled, compared and shared.

    Raises
    ------
    TypeError
        If `loss` is no loss object.
    ValueError
        If NaN marks its missing labels, or `min_hessian` is negative, or for one target `loss`
        has arrays of weights: CatBoost shuffles rows and hands them over in blocks, so a row's
        weight belongs in the `Pool`. A bad label or a NaN derivative raises one in training,
        which CatBoost turns into a `CatBoostError` that contains its text.

    Examples
    --------
    >>> import logitloss
    >>> from catboost import CatBoostRegressor
    >>> from logitloss.integrations.catboost import metric, objective
    >>> from sklearn.datasets import load_breast_cancer
    >>> x, y = load_breast_cancer(return_X_y=True)
    >>> loss = logitloss.BCEWithLogitsLoss(ignore_index=-1)
    >>> model = CatBoostRegressor(
    ...     loss_function=objective(loss), eval_metric=metric(loss), iterations=20,
    ...     learning_rate=0.3, verbose=False, allow_writing_files=False,
    ... )
    >>> bool(((model.fit(x, y).predict(x) > 0) == y).mean() > 0.97)  # margins, not probabilities
    True
    """
    made = MultiTargetObjective if multi_target else Objective
    return made(_prepared(loss, multi_target), _boosting.checked_min_hessian(min_hessian))


def _prepared(loss: Loss, multi_target: bool) -> Loss:
    """Return the loss with its reduction set to a sum; refuse weights that belong to rows."""
    loss = _boosting.summed(loss)
    if not multi_target:
        try:
            for count in (2, 3):
                loss.grad(np.zeros(count), np.zeros(count))
        except ValueError as error:
            raise ValueError(
                "with one target weight and pos_weight of the loss must be numbers, not arrays "
                f"({error}); give weights of rows to the Pool, which shuffles them with the rows"
            ) from error
    return loss


class _Parameter:
    """What CatBoost needs of the objects among its parameters."""

    # Without this attribute CatBoost tries to compile the methods with Numba, and warns.
    no_jit = True

    def __deepcopy__(self, memo: object) -> Self:
        """Return itself: CatBoost copies its parameters, and `sklearn.clone` wants the same."""
        return self


class Objective(_Parameter, _boosting.ObjectiveAdapter):
    """What `objective` returns for one target."""

    def calc_ders_range(
        self, approxes: ArrayLike, targets: ArrayLike, weights: ArrayLike | None
    ) -> NDArray[Any]:
        """Return first and second derivatives of the negative loss, in an array (n, 2)."""
        grad, hess = _boosting.derivatives(
            self.loss, *_boosting.aligned(approxes, targets, weights), self.min_hessian
        )
        return -np.column_stack([grad, hess])


class MultiTargetObjective(
    _Parameter, _boosting.ObjectiveAdapter, catboost.MultiTargetCustomObjective
):
    """What `objective` returns for several targets."""

    def calc_ders_multi(
        self, approxes: ArrayLike, targets: ArrayLike, weight: float
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return gradient (k,) and hessian (k, k) of the negative loss of one row."""
        margins, labels, _ = _boosting.aligned(approxes, targets, None)
        grad, hess = _boosting.derivatives(
            self.loss, margins, labels, np.asarray(weight), self.min_hessian
        )
        return -grad, np.diag(-hess)


@overload
def metric(loss: Loss, *, multi_target: Literal[False] = False) -> Metric: ...
@overload
def metric(loss: Loss, *, multi_target: Literal[True]) -> MultiTargetMetric: ...
@overload
def metric(loss: Loss, *, multi_target: bool) -> Metric | MultiTargetMetric: ...
def metric(loss: Loss, *, multi_target: bool = False) -> Metric | MultiTargetMetric:
    """Return a loss as a metric of CatBoost: the weighted mean over the labels that exist.

    Parameters
    ----------
    loss : loss object
        Such as `logitloss.BCEWithLogitsLoss`. Its reduction does not matter.
    multi_target : bool
        True for labels of shape (n, k).

    Returns
    -------
    Metric or MultiTargetMetric
        For CatBoost's ``eval_metric`` beside an `objective` with the same `multi_target`.

    Raises
    ------
    TypeError, ValueError
        As `objective` does.

    Examples
    --------
    >>> import logitloss, numpy as np
    >>> mean = metric(logitloss.BCEWithLogitsLoss(ignore_index=-1))
    >>> losses, weights = mean.evaluate([np.array([0.0, 0.0, 9.0])], np.array([1, 0, -1]), None)
    >>> round(losses, 6), round(weights, 6)
    (1.386294, 2.0)
    >>> round(mean.get_final_error(losses, weights), 6)
    0.693147
    """
    made = MultiTargetMetric if multi_target else Metric
    return made(_prepared(loss, multi_target))


class Metric(_Parameter, _boosting.Adapter):
    """What `metric` returns for one target."""

    def is_max_optimal(self) -> bool:
        """Return False: lower is better."""
        return False

    def evaluate(
        self,
        approxes: Sequence[NDArray[Any]],
        target: Any,
        weight: NDArray[Any] | None,
    ) -> tuple[float, float]:
        """Return the sum of the weighted losses and that of the weights of existing labels."""
        return _boosting.loss_and_weight(self.loss, *_boosting.aligned(approxes[0], target, weight))

    def get_final_error(self, error: float, weight: float) -> float:
        """Return the mean."""
        return _boosting.mean_loss(error, weight)


class MultiTargetMetric(Metric, catboost.MultiTargetCustomMetric):
    """What `metric` returns for several targets; see `Metric`."""

    def evaluate(
        self,
        approxes: Sequence[NDArray[Any]],
        target: Sequence[NDArray[Any]],
        weight: NDArray[Any] | None,
    ) -> tuple[float, float]:
        """Return the sum of the weighted losses and that of the weights of existing labels."""
        margins, labels = np.column_stack(approxes), np.column_stack(target)
        return _boosting.loss_and_weight(self.loss, *_boosting.aligned(margins, labels, weight))

"""Losses of `logitloss` as objectives and metrics of XGBoost.

`objective` and `metric` serve `xgboost.train`, `xgboost.cv`, the scikit-learn estimators and
`xgboost.dask` alike: weights are applied, missing labels have no say, several targets are one
call. `base_score` starts training where XGBoost's own log loss starts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from logitloss.integrations import _boosting
from logitloss.integrations._boosting import Loss, intercept
from logitloss.integrations._optional import require

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

xgboost: Any = require("xgboost", "xgboost")

__all__ = ["Metric", "Objective", "base_score", "intercept", "metric", "objective"]

_LOGISTIC_OBJECTIVES = ("binary:logistic", "reg:logistic")
_IDENTITY_OBJECTIVES = ("binary:logitraw", "reg:squarederror")


def objective(loss: Loss, *, min_hessian: float = 1e-16) -> Objective:
    """Return a loss as an objective of XGBoost.

    Give it to ``xgboost.train(..., obj=...)``, ``xgboost.cv(..., obj=...)``,
    ``xgboost.dask.train(..., obj=...)`` or ``XGBClassifier(objective=...)`` and its relatives.
    With one target or several (``multi_strategy`` of either kind), weights of rows multiply
    gradient and hessian as they do in XGBoost's own objectives.

    Parameters
    ----------
    loss : loss object
        Such as `logitloss.BCEWithLogitsLoss`. Its reduction does not matter. ``ignore_index``
        marks missing labels (XGBoost takes no NaN), and ``pos_weight`` does what
        ``scale_pos_weight`` does, which XGBoost ignores beside an objective of one's own.
    min_hessian : float
        Smallest hessian of an element that exists and has a weight. The default is XGBoost's.
        Missing elements keep 0.

    Returns
    -------
    Objective
        Can be pickled, compared and shared.

    Raises
    ------
    TypeError
        If `loss` is no loss object.
    ValueError
        If NaN marks its missing labels, or `min_hessian` is negative. The objective itself raises
        one if there is not one label for each margin, a label is bad, or a derivative is NaN.

    Examples
    --------
    >>> import logitloss, xgboost
    >>> from logitloss.integrations.xgboost import base_score, objective
    >>> from sklearn.datasets import load_breast_cancer
    >>> x, y = load_breast_cancer(return_X_y=True)
    >>> loss = logitloss.BCEWithLogitsLoss(ignore_index=-1)
    >>> params = {"objective": "binary:logistic", "base_score": base_score(y, loss)}
    >>> data = xgboost.DMatrix(x, y)
    >>> model = xgboost.train(params, data, 10, obj=objective(loss))
    >>> bool(((model.predict(data) > 0.5) == y).mean() > 0.97)
    True
    """
    return Objective(_boosting.summed(loss), _boosting.checked_min_hessian(min_hessian))


class Objective(_boosting.ObjectiveAdapter):
    """What `objective` returns."""

    def __call__(
        self, first: Any, second: Any, /, sample_weight: ArrayLike | None = None
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return gradient and hessian, of the shape of the margins.

        Parameters
        ----------
        first, second : array_like, xgboost.DMatrix or array_like
            Margins and data, as `xgboost.train` calls it, or labels and margins, as the
            scikit-learn estimators do.
        sample_weight : array_like of shape (n,), optional
            Weights in the second case; the data has its own.
        """
        return _boosting.derivatives(
            self.loss, *_arguments(first, second, sample_weight), self.min_hessian
        )


def metric(loss: Loss, *, name: str = "logitloss") -> Metric:
    """Return a loss as a metric of XGBoost: the weighted mean over the labels that exist.

    Give it to ``xgboost.train(..., custom_metric=...)`` or ``XGBClassifier(eval_metric=...)``,
    beside an objective of one's own such as `objective`: XGBoost then hands margins over. Beside
    one of its own objectives it hands over probabilities and does not say so; use its own metrics
    there. On a cluster, losses and weights are summed over all workers before they are divided.

    Parameters
    ----------
    loss : loss object
        Such as `logitloss.BCEWithLogitsLoss`. Its reduction does not matter.
    name : str
        What XGBoost calls the metric.

    Raises
    ------
    TypeError, ValueError
        As `objective` does. The metric raises `ValueError` where there is no label to average.

    Examples
    --------
    >>> import logitloss
    >>> metric(logitloss.BCEWithLogitsLoss(ignore_index=-1))([1, 0, -1], [0.0, 0.0, 9.0])
    0.6931471805599453
    """
    return Metric(_boosting.summed(loss), name)


class Metric(_boosting.MetricAdapter):
    """What `metric` returns."""

    @property
    def __name__(self) -> str:
        """The name that the scikit-learn estimators read."""
        return self.name

    def __call__(
        self, first: Any, second: Any, /, sample_weight: ArrayLike | None = None
    ) -> float | tuple[str, float]:
        """Return name and value for margins and data, the value alone for labels and margins."""
        sums = np.array(
            _boosting.loss_and_weight(self.loss, *_arguments(first, second, sample_weight))
        )
        if xgboost.collective.get_world_size() > 1:
            sums = xgboost.collective.allreduce(sums, xgboost.collective.Op.SUM)
        value = _boosting.mean_loss(*(float(part) for part in sums))
        return (self.name, value) if isinstance(second, xgboost.DMatrix) else value


def _arguments(
    first: Any, second: Any, sample_weight: ArrayLike | None
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None]:
    """Return margins, labels and weights from either of XGBoost's two orders of arguments."""
    if isinstance(second, xgboost.DMatrix):
        return _boosting.aligned(first, second.get_label(), second.get_weight())
    return _boosting.aligned(second, first, sample_weight)


def base_score(
    labels: ArrayLike,
    loss: Loss,
    *,
    weight: ArrayLike | None = None,
    objective: Literal[
        "binary:logistic", "reg:logistic", "binary:logitraw", "reg:squarederror"
    ] = "binary:logistic",
) -> float | list[float]:
    """Return XGBoost's parameter ``base_score``, so that training starts at the base rate.

    XGBoost finds it from the data for its own objectives only. In which unit it wants it depends
    on the *name* of an objective that it is also given, even where that objective is not used:

    | how | that name | unit of ``base_score`` | ``predict`` returns |
    |---|---|---|---|
    | ``XGBClassifier`` | ``binary:logistic``, by itself | probability | classes |
    | ``XGBRegressor`` | ``reg:squarederror``, by itself | margin | margins |
    | ``train(params, obj=...)`` | ``params["objective"]``, else ``reg:squarederror`` | as above | \
probabilities or margins |

    A margin of 0 given as a probability of 0 is a start at -13.8, from which little is learnt.

    Parameters
    ----------
    labels : array_like of shape (n,) or (n, k)
        The labels, with the sentinel of the loss where one is missing.
    loss : loss object
        Such as `logitloss.BCEWithLogitsLoss`; its reduction does not matter.
    weight : array_like of shape (n,), optional
        A weight for each row.
    objective : str
        The name that XGBoost is given.

    Returns
    -------
    float or list of float
        One number for each target. Several need XGBoost 3.1; with older versions give
        ``base_margin=numpy.tile(intercept(labels, loss), (n, 1))`` to each `DMatrix` instead.

    Raises
    ------
    ValueError
        If the name is none of these, and as `intercept` does.

    Examples
    --------
    >>> import logitloss
    >>> loss = logitloss.BCEWithLogitsLoss(ignore_index=-1)
    >>> round(base_score([1, 0, 0, 0, -1], loss), 6)
    0.25
    >>> round(base_score([1, 0, 0, 0, -1], loss, objective="reg:squarederror"), 6)
    -1.098612
    """
    known = _LOGISTIC_OBJECTIVES + _IDENTITY_OBJECTIVES
    if objective not in known:
        raise ValueError(f"objective must be one of {', '.join(known)}, not {objective!r}")
    margin = np.asarray(intercept(labels, loss, weight=weight))
    if objective in _LOGISTIC_OBJECTIVES:
        margin = 1 / (1 + np.exp(-margin))
    score: float | list[float] = margin.tolist()
    return score

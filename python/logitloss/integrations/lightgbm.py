"""Losses of `logitloss` as objectives and metrics of LightGBM.

`objective` and `metric` serve `lightgbm.train`, `lightgbm.cv`, the scikit-learn estimators and
those for Dask: weights are applied and missing labels have no say. LightGBM has one label a row,
so several labels are several models.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from logitloss.integrations import _boosting
from logitloss.integrations._boosting import Loss, intercept
from logitloss.integrations._optional import require

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

lightgbm: Any = require("lightgbm", "lightgbm")

__all__ = ["Metric", "Objective", "add_intercept", "intercept", "metric", "objective"]

# Parameters of LightGBM's own log loss, their aliases, and the value that changes nothing.
_IGNORED_PARAMETERS = {
    "scale_pos_weight": 1,
    "is_unbalance": False,
    "unbalance": False,
    "unbalanced_sets": False,
    "sigmoid": 1,
}
_NO_OBJECTIVE = (None, "none", "null", "custom", "na")


def objective(loss: Loss, *, min_hessian: float = 0.0) -> Objective:
    """Return a loss as an objective of LightGBM.

    Give it to ``lightgbm.train({"objective": ...}, ...)``, to ``lightgbm.cv`` likewise, or to
    ``LGBMRegressor(objective=...)`` and its relatives. Weights of rows multiply gradient and
    hessian as they do in LightGBM's own objectives.

    Parameters
    ----------
    loss : loss object
        Such as `logitloss.BCEWithLogitsLoss`. Its reduction does not matter. ``ignore_index``
        marks missing labels: LightGBM turns NaN labels into 0 before anyone can see them.
        ``pos_weight`` does what ``scale_pos_weight`` does.
    min_hessian : float
        Smallest hessian of an element that exists and has a weight. The default is LightGBM's.
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
        one if there is not one label for each margin, a label is bad, a derivative is NaN, or
        `lightgbm.train` was given ``scale_pos_weight``, ``is_unbalance`` or ``sigmoid``, which
        LightGBM ignores beside an objective of one's own.

    Examples
    --------
    >>> import lightgbm, logitloss
    >>> from logitloss.integrations.lightgbm import objective
    >>> from sklearn.datasets import load_breast_cancer
    >>> x, y = load_breast_cancer(return_X_y=True)
    >>> loss = logitloss.BCEWithLogitsLoss(ignore_index=-1)
    >>> params = {"objective": objective(loss), "verbosity": -1}
    >>> model = lightgbm.train(params, lightgbm.Dataset(x, y), 20)
    >>> bool(((model.predict(x) > 0) == y).mean() > 0.97)  # margins, not probabilities
    True
    """
    return Objective(_boosting.summed(loss), _boosting.checked_min_hessian(min_hessian))


class Objective(_boosting.ObjectiveAdapter):
    """What `objective` returns."""

    def __call__(
        self, first: Any, second: Any, weight: ArrayLike | None = None
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return gradient and hessian, of the shape of the margins.

        LightGBM counts these parameters: three of them are labels, margins and weights.

        Parameters
        ----------
        first, second : array_like, lightgbm.Dataset or array_like
            Margins and data, as `lightgbm.train` calls it, or labels and margins, as the
            scikit-learn estimators do.
        weight : array_like of shape (n,), optional
            Weights in the second case; the data has its own.
        """
        if isinstance(second, lightgbm.Dataset):
            _refuse_ignored_parameters(second.params or {})
        return _boosting.derivatives(
            self.loss, *_arguments(first, second, weight), self.min_hessian
        )


def metric(loss: Loss, *, name: str = "logitloss") -> Metric:
    """Return a loss as a metric of LightGBM: the weighted mean over the labels that exist.

    Give it to ``lightgbm.train(..., feval=...)`` or ``fit(..., eval_metric=...)``, beside an
    objective of one's own such as `objective`: LightGBM then hands margins over.

    Parameters
    ----------
    loss : loss object
        Such as `logitloss.BCEWithLogitsLoss`. Its reduction does not matter.
    name : str
        What LightGBM calls the metric.

    Raises
    ------
    TypeError, ValueError
        As `objective` does. The metric raises `ValueError` where there is no label to average,
        and under `lightgbm.train` with one of LightGBM's own objectives, which hands over
        probabilities instead of margins.

    Examples
    --------
    >>> import logitloss
    >>> metric(logitloss.BCEWithLogitsLoss(ignore_index=-1))([1, 0, -1], [0.0, 0.0, 9.0])
    ('logitloss', 0.6931471805599453, False)
    """
    return Metric(_boosting.summed(loss), name)


class Metric(_boosting.MetricAdapter):
    """What `metric` returns."""

    def __call__(
        self, first: Any, second: Any, weight: ArrayLike | None = None
    ) -> tuple[str, float, bool]:
        """Return name, value and that lower is better, for either order of arguments."""
        if isinstance(second, lightgbm.Dataset):
            _refuse_probabilities(second.params or {})
        sums = _boosting.loss_and_weight(self.loss, *_arguments(first, second, weight))
        return self.name, _boosting.mean_loss(*sums), False


def _arguments(
    first: Any, second: Any, weight: ArrayLike | None
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None]:
    """Return margins, labels and weights from either of LightGBM's two orders of arguments."""
    if isinstance(second, lightgbm.Dataset):
        return _boosting.aligned(first, second.get_label(), second.get_weight())
    return _boosting.aligned(second, first, weight)


def _refuse_ignored_parameters(parameters: Mapping[str, Any]) -> None:
    for name, without_effect in _IGNORED_PARAMETERS.items():
        value = parameters.get(name, without_effect)
        if value != without_effect:
            raise ValueError(
                f"LightGBM ignores {name}={value!r} beside an objective of one's own; give the "
                "loss pos_weight (for is_unbalance: negatives / positives) and leave it out"
            )


def _refuse_probabilities(parameters: Mapping[str, Any]) -> None:
    name = parameters.get("objective")
    if name not in _NO_OBJECTIVE:
        raise ValueError(
            f"this metric is for margins, and with objective={name!r} LightGBM hands over "
            "transformed predictions; use logitloss.integrations.lightgbm.objective, or one of "
            "LightGBM's own metrics"
        )


def add_intercept(model: Any, margin: float | NDArray[np.float64]) -> None:
    """Add a constant to all predictions of a model, as LightGBM's own objectives do.

    LightGBM leaves ``boost_from_average`` without effect for an objective of one's own. Training
    can start at `intercept` with ``init_score``, but the model does not keep it, and predictions
    lack it. This puts it into the leaves of the first tree, where LightGBM itself keeps it.

    Parameters
    ----------
    model : lightgbm.Booster or fitted LGBMModel
        Changed in place.
    margin : float
        What `intercept` returned for labels of shape (n,).

    Raises
    ------
    ValueError
        If the model has no tree, several trees an iteration, or linear trees.

    Examples
    --------
    >>> import lightgbm, logitloss, numpy as np
    >>> from logitloss.integrations.lightgbm import add_intercept, intercept, objective
    >>> from sklearn.datasets import load_breast_cancer
    >>> x, y = load_breast_cancer(return_X_y=True)
    >>> loss = logitloss.BCEWithLogitsLoss()
    >>> start = intercept(y, loss)
    >>> data = lightgbm.Dataset(x, y, init_score=np.full(len(y), start))
    >>> model = lightgbm.train({"objective": objective(loss), "verbosity": -1}, data, 5)
    >>> add_intercept(model, start)
    """
    booster = model if isinstance(model, lightgbm.Booster) else model.booster_
    if booster.num_trees() == 0 or booster.num_model_per_iteration() != 1:
        raise ValueError(
            f"an intercept needs a model of one tree an iteration, not one with "
            f"{booster.num_trees()} trees, {booster.num_model_per_iteration()} an iteration"
        )
    tree = booster.dump_model(num_iteration=1)["tree_info"][0]
    if "leaf_const" in str(tree):
        raise ValueError("the leaves of linear trees are no constants that could be added to")
    for leaf in range(tree["num_leaves"]):
        booster.set_leaf_output(0, leaf, booster.get_leaf_output(0, leaf) + float(margin))

"""Losses as objectives and metrics of CatBoost, held against CatBoost's own log loss."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import boosters
import oracle
from boosters import MISSING, assert_layout
from logitloss import BCEWithLogitsLoss
from oracle import Array

catboost = pytest.importorskip("catboost")
pytest.importorskip("sklearn")

from logitloss.integrations import catboost as integration
from logitloss.integrations.catboost import intercept, metric, objective

PLAIN = BCEWithLogitsLoss()
MASKED = BCEWithLogitsLoss(ignore_index=MISSING)
# CatBoost takes ten steps a leaf for its own log loss, and one for an objective of one's own.
PARAMETERS = {
    "iterations": 20,
    "learning_rate": 0.3,
    "depth": 4,
    "leaf_estimation_iterations": 10,
    "thread_count": 1,
    "verbose": 0,
    "allow_writing_files": False,
}


def ours(loss: Any, several: bool = False) -> dict[str, Any]:
    """Return an objective and a metric as parameters."""
    return {
        "loss_function": objective(loss, multi_target=several),
        "eval_metric": metric(loss, multi_target=several),
    }


def fitted(loss: Any, x: Array, y: Array, weight: Array | None = None, **parameters: Any) -> Any:
    """Train with an objective and a metric of ours."""
    model = catboost.CatBoost({**PARAMETERS, **ours(loss, np.ndim(y) == 2), **parameters})
    return model.fit(catboost.Pool(x, y, weight=weight))


def own(name: str, x: Array, y: Array, weight: Array | None = None, **parameters: Any) -> Any:
    """Train with a loss of CatBoost's."""
    model = catboost.CatBoost({**PARAMETERS, "loss_function": name, **parameters})
    return model.fit(catboost.Pool(x, y, weight=weight))


@pytest.mark.parametrize("steps", [1, 10])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_margins_are_those_of_the_built_in_loss(weighted: bool, steps: int) -> None:
    x, y, weight = boosters.tumours()
    given = weight if weighted else None
    options = {"leaf_estimation_iterations": steps, "leaf_estimation_method": "Newton"}
    expected = own("Logloss", x, y, given, **options).predict(x)
    assert np.ptp(expected) > 5
    actual = fitted(PLAIN, x, y, given, **options).predict(x)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4)


def test_scale_pos_weight_is_a_weight_of_rows() -> None:
    x, y, weight = boosters.tumours()
    expected = own("Logloss", x, y, weight, scale_pos_weight=3.0).predict(x)
    actual = fitted(PLAIN, x, y, weight * np.where(y == 1, 3.0, 1.0)).predict(x)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4)
    with pytest.raises(catboost.CatBoostError, match="scale_pos_weight is supported only for"):
        fitted(PLAIN, x, y, scale_pos_weight=3.0)


def test_several_targets() -> None:
    x, y, weight = boosters.tumours()
    labels = boosters.several_labels(y)
    options = {"leaf_estimation_iterations": 1, "bootstrap_type": "No"}
    expected = own("MultiLogloss", x, labels, weight, **options)
    actual = fitted(PLAIN, x, labels, weight, **options).predict(x)
    raw = expected.predict(x, prediction_type="RawFormulaVal")
    assert np.ptp(raw) > 2
    np.testing.assert_allclose(actual, raw, rtol=0, atol=1e-4)


def test_the_intercept_in_a_model() -> None:
    x, y, weight = boosters.tumours()
    options = {"leaf_estimation_iterations": 1, "bootstrap_type": "No"}
    expected = own("Logloss", x, y, weight, boost_from_average=True, **options).predict(x)
    start = intercept(y, PLAIN, weight=weight)
    model = catboost.CatBoost({**PARAMETERS, **options, **ours(PLAIN)})
    model.fit(catboost.Pool(x, y, weight=weight, baseline=np.full(len(y), start)))
    model.set_scale_and_bias(1.0, start)
    np.testing.assert_allclose(model.predict(x), expected, rtol=0, atol=1e-4)


def test_a_row_without_a_label_has_the_say_of_a_weight_of_0() -> None:
    """The row's weight itself has one in CatBoost's scores of splits, so it is 0 here."""
    x, y, weight = boosters.tumours()
    labels = boosters.with_missing(y)
    weight = np.where(labels == MISSING, 0, weight)
    expected = own("Logloss", x, y, weight, bootstrap_type="No").predict(x)
    actual = fitted(MASKED, x, labels, weight, bootstrap_type="No").predict(x)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("several", [False, True], ids=["one target", "several targets"])
def test_missing_labels_ignored_beat_missing_labels_negative(several: bool) -> None:
    x, y, _ = boosters.tumours()
    labels = np.column_stack([y, 1 - y, x[:, 0] > np.median(x[:, 0])]) if several else y
    given = boosters.with_missing(labels)
    missing = given == MISSING
    right = {}
    for name, seen in {"ignored": given, "negative": np.where(missing, 0, given)}.items():
        margins = fitted(MASKED, x, seen, leaf_estimation_iterations=1).predict(x)
        right[name] = ((margins > 0) == labels)[missing].mean()
    assert right["ignored"] > right["negative"] + 0.05


def test_sign_and_layout() -> None:
    rng = np.random.default_rng(0)
    margins, labels = rng.normal(0, 4, 60), boosters.with_missing(rng.integers(0, 2, 60))
    weight = rng.exponential(1, 60).astype(np.float32)
    both = objective(MASKED).calc_ders_range(margins, labels.astype(np.float32), weight)
    assert_layout(both, dtype=np.float64, shape=(60, 2))
    exact = oracle.elements(margins, labels, weight=weight, ignore_index=MISSING)
    expected = np.column_stack([-exact.grad, -exact.hess]).astype(np.float64)
    np.testing.assert_allclose(both, expected, rtol=1e-14)
    assert (both[:, 1] <= 0).all()
    for row in range(0, 60, 3):
        three = slice(row, row + 3)
        grad, hess = objective(MASKED, multi_target=True).calc_ders_multi(
            margins[three], labels[three].astype(np.float32), 2.0
        )
        exact = oracle.elements(margins[three], labels[three], weight=2.0, ignore_index=MISSING)
        np.testing.assert_allclose(grad, -exact.grad.astype(np.float64), rtol=1e-14)
        np.testing.assert_allclose(hess, np.diag(-exact.hess.astype(np.float64)), rtol=1e-14)


def test_a_smallest_hessian() -> None:
    both = objective(MASKED, min_hessian=0.2).calc_ders_range(
        np.array([9.0, 0.0, 9.0]), np.array([1, 1, MISSING]), None
    )
    np.testing.assert_array_equal(both[:, 1], [-0.2, -0.25, 0.0])


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_the_metric_is_that_of_catboost(weighted: bool) -> None:
    x, y, weight = boosters.tumours()
    given = weight if weighted else None
    losses = []
    for error in ("Logloss", metric(PLAIN)):
        model = fitted(PLAIN, x, y, given, eval_metric=error)
        (values,) = model.get_evals_result()["learn"].values()
        losses.append(values)
    assert len(losses[0]) == 20
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-9)


def test_the_metric_stops_training() -> None:
    x, y, _ = boosters.tumours()
    labels = boosters.with_missing(boosters.several_labels(y))
    model = catboost.CatBoostRegressor(
        **{**PARAMETERS, "iterations": 200, "leaf_estimation_iterations": 1},
        **ours(MASKED, several=True),
    )
    model.fit(x[:300], labels[:300], eval_set=(x[300:], labels[300:]), early_stopping_rounds=3)
    assert model.tree_count_ < 200
    (best,) = model.get_best_score()["validation"].values()
    assert best == pytest.approx(MASKED(model.predict(x[300:]), labels[300:]))


def test_errors_surface() -> None:
    """An exception inside CatBoost's callbacks ends training, and its text is that of the error."""
    x, y, _ = boosters.tumours()
    bad = np.where(np.arange(len(y)) == 5, 2, y)
    for labels in (bad, np.column_stack([y, bad])):
        with pytest.raises(catboost.CatBoostError, match=r"ValueError: targets must lie in"):
            fitted(MASKED, x, labels)
    with pytest.raises(catboost.CatBoostError, match="the metric is not a number"):
        catboost.CatBoost({**PARAMETERS, **ours(MASKED)}).fit(
            x, y, eval_set=(x, np.full(len(y), MISSING))
        )


@pytest.mark.parametrize("several", [False, True], ids=["one target", "several targets"])
def test_derivatives_that_are_no_numbers_end_training(several: bool) -> None:
    x, y, _ = boosters.tumours()
    labels = boosters.several_labels(y) if several else y
    with pytest.raises(catboost.CatBoostError, match=r"ValueError: the gradient at .* is nan"):
        fitted(NotANumber(), x, labels)


class NotANumber(BCEWithLogitsLoss):
    """A loss whose gradients are NaN."""

    def grad_hess(self, *arguments: Any, **options: Any) -> tuple[Array, Array]:
        grad, hess = super().grad_hess(*arguments, **options)
        return grad * np.nan, hess


def test_nan_labels_are_refused() -> None:
    x, y, _ = boosters.tumours()
    y[3] = np.nan
    with pytest.raises(catboost.CatBoostError, match=r"(?i)nan"):
        fitted(MASKED, x, y)
    with pytest.raises(ValueError, match="no booster hands NaN labels on"):
        objective(BCEWithLogitsLoss(ignore_index=np.nan))


def test_targets_and_objectives_that_do_not_match() -> None:
    x, y, _ = boosters.tumours()
    labels = boosters.several_labels(y)
    with pytest.raises(catboost.CatBoostError, match="multidimensional target"):
        catboost.CatBoost({**PARAMETERS, **ours(PLAIN)}).fit(x, labels)


@pytest.mark.parametrize("make", [objective, metric])
def test_what_is_no_loss_object(make: Any) -> None:
    with pytest.raises(TypeError, match="loss must be a loss object"):
        make(BCEWithLogitsLoss)


@pytest.mark.parametrize("make", [objective, metric])
@pytest.mark.parametrize("count", [2, 3, 569])
def test_weights_of_rows_belong_in_the_pool(count: int, make: Any) -> None:
    loss = BCEWithLogitsLoss(weight=np.ones(count))
    with pytest.raises(ValueError, match="give weights of rows to the Pool"):
        make(loss)
    make(loss, multi_target=True)
    make(BCEWithLogitsLoss(weight=2.0, pos_weight=[3.0]))


@pytest.mark.parametrize("several", [False, True], ids=["one target", "several targets"])
@pytest.mark.parametrize("make", [objective, metric])
def test_objects_can_be_shared(make: Any, several: bool) -> None:
    one = make(BCEWithLogitsLoss(pos_weight=3.0), multi_target=several)
    for other in (pickle.loads(pickle.dumps(one)), copy.deepcopy(one)):
        assert other == one
        assert hash(other) == hash(one)
    assert one != make(PLAIN, multi_target=several)
    assert "pos_weight=3.0" in repr(one)


def test_estimators_can_be_cloned_and_pickled() -> None:
    base = pytest.importorskip("sklearn.base")
    x, y, _ = boosters.tumours()
    model = base.clone(catboost.CatBoostRegressor(**PARAMETERS, **ours(PLAIN))).fit(x, y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(x), model.predict(x))


def test_examples() -> None:
    boosters.run_examples(integration)


def test_the_page() -> None:
    boosters.run_document("catboost.md")

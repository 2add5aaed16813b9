"""Losses as objectives and metrics of LightGBM, held against LightGBM's own log loss."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import boosters
from boosters import MISSING, assert_derivatives, assert_layout
from logitloss import BCEWithLogitsLoss
from oracle import Array

lightgbm = pytest.importorskip("lightgbm")
pytest.importorskip("sklearn")

from logitloss.integrations import lightgbm as integration
from logitloss.integrations.lightgbm import (
    add_intercept,
    intercept,
    metric,
    objective,
)

ROUNDS = 20
PARAMETERS = {"num_threads": 1, "verbosity": -1, "deterministic": True}
PLAIN = BCEWithLogitsLoss()
MASKED = BCEWithLogitsLoss(ignore_index=MISSING)


def own_margins(x: Array, y: Array, weight: Array | None, **parameters: Any) -> Array:
    """Train with LightGBM's own log loss."""
    data = lightgbm.Dataset(x, y, weight=weight)
    model = lightgbm.train({**PARAMETERS, "objective": "binary", **parameters}, data, ROUNDS)
    return np.asarray(model.predict(x, raw_score=True))


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("pos_weight", [1.0, 3.0])
def test_margins_are_those_of_the_built_in_loss(pos_weight: float, weighted: bool) -> None:
    """LightGBM starts at the log-odds without scale_pos_weight, so the intercept does too."""
    x, y, weight = boosters.tumours()
    given = weight if weighted else None
    start = intercept(y, PLAIN, weight=given)
    data = lightgbm.Dataset(x, y, weight=given, init_score=np.full(len(y), start))
    loss = BCEWithLogitsLoss(pos_weight=pos_weight)
    model = lightgbm.train({**PARAMETERS, "objective": objective(loss)}, data, ROUNDS)
    add_intercept(model, start)
    own = own_margins(x, y, given, scale_pos_weight=pos_weight)
    assert np.ptp(own) > 5
    np.testing.assert_allclose(model.predict(x), own, rtol=0, atol=1e-4)
    again = lightgbm.Booster(model_str=model.model_to_string())
    np.testing.assert_allclose(again.predict(x), own, rtol=0, atol=1e-4)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_without_an_intercept(weighted: bool) -> None:
    x, y, weight = boosters.tumours()
    given = weight if weighted else None
    data = lightgbm.Dataset(x, y, weight=given)
    model = lightgbm.train({**PARAMETERS, "objective": objective(PLAIN)}, data, ROUNDS)
    own = own_margins(x, y, given, boost_from_average=False)
    np.testing.assert_allclose(model.predict(x), own, rtol=0, atol=1e-4)


@pytest.mark.parametrize("estimator", ["LGBMRegressor", "LGBMClassifier"])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_the_scikit_learn_estimators(weighted: bool, estimator: str) -> None:
    x, y, weight = boosters.tumours()
    given = weight if weighted else None
    start = float(intercept(y, PLAIN, weight=given))
    model = getattr(lightgbm, estimator)(
        objective=objective(PLAIN), n_estimators=ROUNDS, n_jobs=1, verbosity=-1
    )
    model.fit(x, y, sample_weight=given, init_score=np.full(len(y), start))
    add_intercept(model, start)
    margins = model.predict(x, raw_score=True)
    np.testing.assert_allclose(margins, own_margins(x, y, given), rtol=0, atol=1e-4)


def test_a_row_without_a_label_has_no_say() -> None:
    """Rows of weight 0 count for LightGBM's limits on rows a leaf, and so do missing labels."""
    x, y, weight = boosters.tumours()
    labels = boosters.with_missing(y)
    data = lightgbm.Dataset(x, labels, weight=weight)
    model = lightgbm.train({**PARAMETERS, "objective": objective(MASKED)}, data, ROUNDS)
    zero = np.where(labels == MISSING, 0, weight)
    own = own_margins(x, y, zero, boost_from_average=False)
    np.testing.assert_allclose(model.predict(x), own, rtol=0, atol=1e-4)


def test_a_model_for_each_label() -> None:
    """Each label's missing ones are ignored by the one estimator that all labels share."""
    multioutput = pytest.importorskip("sklearn.multioutput")
    x, y, _ = boosters.tumours()
    labels = np.column_stack([y, 1 - y, x[:, 0] > np.median(x[:, 0])])
    given = boosters.with_missing(labels)
    missing = given == MISSING
    regressor = lightgbm.LGBMRegressor(
        objective=objective(MASKED), n_estimators=ROUNDS, n_jobs=1, verbosity=-1
    )
    right = {}
    for name, seen in {"ignored": given, "negative": np.where(missing, 0, given)}.items():
        margins = multioutput.MultiOutputRegressor(regressor).fit(x, seen).predict(x)
        right[name] = ((margins > 0) == labels)[missing].mean()
    assert right["ignored"] > right["negative"] + 0.1


def test_both_orders_of_arguments() -> None:
    x, y, weight = boosters.tumours()
    margins = np.random.default_rng(0).normal(0, 4, len(y))
    labels = boosters.with_missing(y).astype(np.float32)
    weight = weight.astype(np.float32)
    data = lightgbm.Dataset(x, labels, weight=weight).construct()
    core = objective(MASKED)(margins, data)
    assert_layout(*core, dtype=np.float64, shape=margins.shape)
    assert_derivatives(*core, margins, labels, weight=weight, ignore_index=MISSING)
    np.testing.assert_array_equal(objective(MASKED)(labels, margins, weight), core)
    assert metric(MASKED)(labels, margins, weight) == metric(MASKED)(margins, data)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_the_metric_is_that_of_lightgbm(weighted: bool) -> None:
    x, y, weight = boosters.tumours()
    data = lightgbm.Dataset(x, y, weight=weight if weighted else None)
    valid = lightgbm.Dataset(x, y, weight=weight if weighted else None, reference=data)
    own: dict[str, Any] = {}
    ours: dict[str, Any] = {}
    lightgbm.train(
        {**PARAMETERS, "objective": "binary", "boost_from_average": False},
        data,
        5,
        valid_sets=[valid],
        callbacks=[lightgbm.record_evaluation(own)],
    )
    data = lightgbm.Dataset(x, y, weight=weight if weighted else None)
    valid = lightgbm.Dataset(x, y, weight=weight if weighted else None, reference=data)
    lightgbm.train(
        {**PARAMETERS, "objective": objective(PLAIN)},
        data,
        5,
        valid_sets=[valid],
        feval=metric(PLAIN, name="ours"),
        callbacks=[lightgbm.record_evaluation(ours)],
    )
    np.testing.assert_allclose(ours["valid_0"]["ours"], own["valid_0"]["binary_logloss"], rtol=1e-6)


@pytest.mark.filterwarnings("ignore:The argument 'eval_set' is deprecated")
def test_the_metric_of_an_estimator_stops_training() -> None:
    x, y, _ = boosters.tumours()
    labels = boosters.with_missing(y)
    # Without metric="None" a regressor looks at the squared error of the margins, too.
    model = lightgbm.LGBMRegressor(
        objective=objective(MASKED),
        metric="None",
        n_estimators=200,
        learning_rate=0.5,
        n_jobs=1,
        verbosity=-1,
    )
    model.fit(
        x[:300],
        labels[:300],
        eval_set=[(x[300:], labels[300:])],
        eval_metric=metric(MASKED),
        callbacks=[lightgbm.early_stopping(3, verbose=False)],
    )
    losses = model.evals_result_["valid_0"]["logitloss"]
    assert len(losses) < 200
    assert min(losses) == pytest.approx(MASKED(model.predict(x[300:]), labels[300:]))


def test_cross_validation() -> None:
    x, y, weight = boosters.tumours()
    table = lightgbm.cv(
        {**PARAMETERS, "objective": objective(MASKED)},
        lightgbm.Dataset(x, boosters.with_missing(y), weight=weight),
        5,
        nfold=2,
        stratified=False,
        feval=metric(MASKED),
    )
    means = table["valid logitloss-mean"]
    assert means[-1] < means[0] < np.log(2)


def test_nan_labels_are_refused_where_they_can_be_seen() -> None:
    """In a Dataset they are 0 before anyone can look; `intercept` sees the labels as they are."""
    x, y, _ = boosters.tumours()
    y[:200] = np.nan
    seen = lightgbm.Dataset(x, y).construct().get_label()
    assert not np.isnan(seen).any()
    with pytest.raises(ValueError, match=r"targets\[0\] is nan"):
        intercept(y, MASKED)
    with pytest.raises(ValueError, match="no booster hands NaN labels on"):
        objective(BCEWithLogitsLoss(ignore_index=np.nan))


@pytest.mark.parametrize("make", [objective, metric])
def test_what_is_no_loss_object(make: Any) -> None:
    with pytest.raises(TypeError, match="loss must be a loss object"):
        make(BCEWithLogitsLoss)


@pytest.mark.parametrize(
    "parameters",
    [{"scale_pos_weight": 3.0}, {"is_unbalance": True}, {"unbalance": True}, {"sigmoid": 2.0}],
    ids=str,
)
def test_parameters_that_lightgbm_would_ignore(parameters: dict[str, Any]) -> None:
    x, y, _ = boosters.tumours()
    name = next(iter(parameters))
    with pytest.raises(ValueError, match=rf"LightGBM ignores {name}=.*give the loss pos_weight"):
        lightgbm.train(
            {**PARAMETERS, "objective": objective(PLAIN), **parameters}, lightgbm.Dataset(x, y), 1
        )


def test_the_metric_refuses_probabilities() -> None:
    x, y, _ = boosters.tumours()
    data = lightgbm.Dataset(x, y)
    valid = lightgbm.Dataset(x, y, reference=data)
    with pytest.raises(ValueError, match=r"for margins, and with objective='binary'"):
        lightgbm.train(
            {**PARAMETERS, "objective": "binary"}, data, 1, valid_sets=[valid], feval=metric(PLAIN)
        )


def test_several_classes_and_bad_labels() -> None:
    x, y, _ = boosters.tumours()
    labels = boosters.with_missing(y)
    classifier = lightgbm.LGBMClassifier(objective=objective(MASKED), n_estimators=1, verbosity=-1)
    with pytest.raises(ValueError, match="takes the sentinel of missing labels for"):
        classifier.fit(x, labels)
    parameters = {**PARAMETERS, "objective": objective(MASKED)}
    with pytest.raises(ValueError, match=r"margins have shape \(569, 3\) and the labels \(569,\)"):
        lightgbm.train({**parameters, "num_class": 3}, lightgbm.Dataset(x, y), 1)
    bad = np.where(np.arange(len(y)) == 5, 2, y)
    with pytest.raises(ValueError, match=r"targets\[5\] is 2"):
        lightgbm.train(parameters, lightgbm.Dataset(x, bad), 1)
    nan = np.where(np.arange(len(y)) == 5, np.nan, 0)
    with pytest.raises(ValueError, match=r"the gradient at \(5,\) is nan"):
        objective(PLAIN)(nan, lightgbm.Dataset(x, y).construct())
    with pytest.raises(ValueError, match="the metric is not a number"):
        metric(PLAIN)(nan, lightgbm.Dataset(x, y).construct())


def test_models_that_take_no_intercept() -> None:
    x, y, _ = boosters.tumours()
    several = lightgbm.train(
        {**PARAMETERS, "objective": "multiclass", "num_class": 3}, lightgbm.Dataset(x, y), 1
    )
    with pytest.raises(ValueError, match=r"not one with 3 trees, 3 an iteration"):
        add_intercept(several, 1.0)
    linear = {**PARAMETERS, "objective": "regression", "linear_tree": True}
    model = lightgbm.train(linear, lightgbm.Dataset(x, y, params=linear), 1)
    with pytest.raises(ValueError, match="linear trees"):
        add_intercept(model, 1.0)


@pytest.mark.filterwarnings("default")
def test_another_process() -> None:
    """One worker, because LightGBM's bins depend on which of several gets which rows."""
    array = pytest.importorskip("dask.array")
    x, y, weight = boosters.tumours()
    rows = ((len(y) - 200, 200),)
    options = {"n_estimators": 5, "verbosity": -1}
    with boosters.cluster(1) as client:
        features = array.from_array(x, chunks=(*rows, x.shape[1]))
        labels, weights = (array.from_array(part, chunks=rows) for part in (y, weight))
        own = lightgbm.DaskLGBMClassifier(client=client, boost_from_average=False, **options)
        ours = lightgbm.DaskLGBMRegressor(client=client, objective=objective(MASKED), **options)
        expected = own.fit(features, labels, sample_weight=weights).predict(
            features, raw_score=True
        )
        actual = ours.fit(features, labels, sample_weight=weights).predict(features)
        np.testing.assert_allclose(actual.compute(), expected.compute(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("make", [objective, metric])
def test_objects_can_be_shared(make: Any) -> None:
    one = make(BCEWithLogitsLoss(pos_weight=3.0))
    for other in (pickle.loads(pickle.dumps(one)), copy.deepcopy(one)):
        assert other == one
        assert hash(other) == hash(one)
    assert one != make(PLAIN)
    assert "pos_weight=3.0" in repr(one)


def test_examples() -> None:
    boosters.run_examples(integration)


def test_the_page() -> None:
    boosters.run_document("lightgbm.md")

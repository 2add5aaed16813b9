"""Losses as objectives and metrics of XGBoost, held against XGBoost's own log loss."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import boosters
from boosters import MISSING, assert_derivatives, assert_layout
from logitloss import BCEWithLogitsLoss
from oracle import Array

xgboost = pytest.importorskip("xgboost")
pytest.importorskip("sklearn")

from logitloss.integrations import xgboost as integration
from logitloss.integrations.xgboost import base_score, intercept, metric, objective

ROUNDS = 20
PARAMETERS = {"objective": "binary:logistic", "max_depth": 4, "nthread": 1}
STRATEGIES = ["one_output_per_tree", "multi_output_tree"]
MATRICES = ["DMatrix", "QuantileDMatrix"]
MASKED = BCEWithLogitsLoss(ignore_index=MISSING)
VERSION = tuple(int(part) for part in xgboost.__version__.split(".")[:2])
SINCE_3_1 = pytest.mark.skipif(VERSION < (3, 1), reason="XGBoost 3.1 or newer")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Use one thread, where XGBoost has that setting, so that busy machines are no slower."""
    settings = {"nthread": 1} if "nthread" in xgboost.get_config() else {}
    with xgboost.config_context(**settings):
        yield


def margins_of(
    data: Any, parameters: dict[str, Any], rounds: int = ROUNDS, **options: Any
) -> Array:
    """Train and return the margins of the training data."""
    model = xgboost.train({**PARAMETERS, **parameters}, data, rounds, **options)
    return np.asarray(model.predict(data, output_margin=True))


CASES: dict[str, tuple[bool, float]] = {
    "plain": (False, 1.0),
    "weighted": (True, 1.0),
    "scale_pos_weight": (False, 3.0),
    "both": (True, 3.0),
}


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("case", CASES)
def test_margins_are_those_of_the_built_in_loss(case: str, matrix: str) -> None:
    weighted, pos_weight = CASES[case]
    x, y, weight = boosters.tumours()
    data = getattr(xgboost, matrix)(x, y, weight=weight if weighted else None)
    loss = BCEWithLogitsLoss(pos_weight=pos_weight)
    start = {"base_score": base_score(y, loss, weight=weight if weighted else None)}
    own = margins_of(data, {**start, "scale_pos_weight": pos_weight})
    ours = margins_of(data, start, obj=objective(loss))
    assert np.ptp(own) > 5
    np.testing.assert_allclose(ours, own, rtol=0, atol=1e-4)


@SINCE_3_1
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_training_starts_where_the_built_in_loss_starts(weighted: bool) -> None:
    x, y, weight = boosters.tumours()
    given = weight if weighted else None
    data = xgboost.DMatrix(x, y, weight=given)
    start = base_score(y, BCEWithLogitsLoss(), weight=given)
    ours = margins_of(data, {"base_score": start}, obj=objective(BCEWithLogitsLoss()))
    np.testing.assert_allclose(ours, margins_of(data, {}), rtol=0, atol=1e-4)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_several_targets(strategy: str) -> None:
    x, y, weight = boosters.tumours()
    labels = boosters.several_labels(y)
    data = xgboost.QuantileDMatrix(x, labels, weight=weight)
    parameters = {"multi_strategy": strategy, "base_score": 0.5}
    ours = margins_of(data, parameters, obj=objective(BCEWithLogitsLoss()))
    assert ours.shape == labels.shape
    np.testing.assert_allclose(ours, margins_of(data, parameters), rtol=0, atol=1e-4)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_the_scikit_learn_estimators(weighted: bool) -> None:
    x, y, weight = boosters.tumours()
    fit = {"sample_weight": weight} if weighted else {}
    options = {"n_estimators": ROUNDS, "max_depth": 4, "n_jobs": 1, "base_score": 0.5}
    own = xgboost.XGBClassifier(**options).fit(x, y, **fit)
    ours = xgboost.XGBClassifier(objective=objective(BCEWithLogitsLoss()), **options)
    probabilities = ours.fit(x, y, **fit).predict_proba(x)
    np.testing.assert_allclose(probabilities, own.predict_proba(x), rtol=0, atol=1e-5)
    options["base_score"] = 0.0
    regressor = xgboost.XGBRegressor(objective=objective(BCEWithLogitsLoss()), **options)
    margins = regressor.fit(x, y, **fit).predict(x)
    np.testing.assert_allclose(margins, own.predict(x, output_margin=True), rtol=0, atol=1e-4)


def test_several_targets_in_the_scikit_learn_estimators() -> None:
    x, y, weight = boosters.tumours()
    labels = boosters.several_labels(y)
    options = {"n_estimators": 5, "n_jobs": 1, "base_score": 0.5}
    own = xgboost.XGBClassifier(**options).fit(x, labels, sample_weight=weight)
    ours = xgboost.XGBClassifier(objective=objective(BCEWithLogitsLoss()), **options)
    ours.fit(x, labels, sample_weight=weight)
    np.testing.assert_allclose(ours.predict_proba(x), own.predict_proba(x), rtol=0, atol=1e-5)


def test_a_row_without_a_label_has_no_say() -> None:
    """Exact trees look at the rows alone, so such a row might as well not be there."""
    x, y, weight = boosters.tumours()
    labels = boosters.with_missing(y)
    exists = labels != MISSING
    exact = {"tree_method": "exact", "base_score": 0.5}
    data = xgboost.DMatrix(x, labels, weight=weight)
    ours = margins_of(data, exact, obj=objective(MASKED))
    zero = xgboost.DMatrix(x, y, weight=np.where(exists, weight, 0))
    np.testing.assert_allclose(ours, margins_of(zero, exact), rtol=0, atol=1e-4)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_missing_labels_ignored_beat_missing_labels_negative(strategy: str) -> None:
    x, y, _ = boosters.tumours()
    labels = np.column_stack([y, 1 - y, x[:, 0] > np.median(x[:, 0])]).astype(np.float32)
    given = boosters.with_missing(labels)
    missing = given == MISSING
    right = {}
    for name, seen in {"ignored": given, "negative": np.where(missing, 0, given)}.items():
        data = xgboost.QuantileDMatrix(x, seen)
        margins = margins_of(data, {"multi_strategy": strategy}, obj=objective(MASKED))
        right[name] = ((margins > 0) == labels)[missing].mean()
    assert right["ignored"] > right["negative"] + 0.1


@pytest.mark.parametrize("shape", [(60,), (20, 3)], ids=str)
def test_both_orders_of_arguments(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    margins = rng.normal(0, 4, shape).astype(np.float32)
    labels = boosters.with_missing(rng.integers(0, 2, shape).astype(np.float32))
    weight = rng.exponential(1, shape[0]).astype(np.float32)
    data = xgboost.DMatrix(rng.random((shape[0], 2)), labels, weight=weight)
    core = objective(MASKED)(margins, data)
    assert_layout(*core, dtype=np.float32, shape=shape)
    rows = weight.reshape(-1, *(1,) * (len(shape) - 1))
    assert_derivatives(*core, margins, labels, weight=rows, ignore_index=MISSING)
    np.testing.assert_array_equal(objective(MASKED)(labels, margins, sample_weight=weight), core)
    value = metric(MASKED)(labels, margins, sample_weight=weight)
    assert type(value) is float
    assert metric(MASKED)(margins, data) == ("logitloss", value)


@pytest.mark.parametrize("margin", [60.0, 200.0])
def test_saturated_rows_keep_the_hessian_that_xgboost_gives_them(margin: float) -> None:
    results = objective(BCEWithLogitsLoss())(np.array([1, 0]), np.array([margin, -margin], "f4"))
    np.testing.assert_array_equal(results[1], np.full(2, 1e-16, np.float32))


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_the_metric_is_that_of_xgboost(weighted: bool) -> None:
    x, y, weight = boosters.tumours()
    data = xgboost.DMatrix(x, y, weight=weight if weighted else None)
    log: dict[str, Any] = {}
    xgboost.train(
        {**PARAMETERS, "eval_metric": "logloss"},
        data,
        5,
        evals=[(data, "train")],
        obj=objective(BCEWithLogitsLoss()),
        custom_metric=metric(BCEWithLogitsLoss(), name="ours"),
        evals_result=log,
        verbose_eval=False,
    )
    assert len(log["train"]["ours"]) == 5
    np.testing.assert_allclose(log["train"]["ours"], log["train"]["logloss"], rtol=0, atol=2e-6)


def test_the_metric_of_an_estimator_stops_training() -> None:
    x, y, _ = boosters.tumours()
    labels = boosters.with_missing(boosters.several_labels(y))
    model = xgboost.XGBRegressor(
        objective=objective(MASKED),
        eval_metric=metric(MASKED),
        early_stopping_rounds=2,
        n_estimators=200,
        learning_rate=1.0,
        n_jobs=1,
    )
    model.fit(x[:300], labels[:300], eval_set=[(x[300:], labels[300:])], verbose=False)
    losses = model.evals_result()["validation_0"]["logitloss"]
    assert len(losses) < 200
    best = model.predict(x[300:])
    assert min(losses) == pytest.approx(MASKED(best, labels[300:]), abs=2e-6)


def test_cross_validation() -> None:
    x, y, weight = boosters.tumours()
    table = xgboost.cv(
        PARAMETERS,
        xgboost.DMatrix(x, boosters.with_missing(y), weight=weight),
        5,
        nfold=2,
        obj=objective(MASKED),
        custom_metric=metric(MASKED),
        as_pandas=False,
    )
    assert table["test-logitloss-mean"][-1] < table["test-logitloss-mean"][0] < np.log(2)


NAMES = ["binary:logistic", "reg:logistic", "binary:logitraw", "reg:squarederror"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("targets", [1, pytest.param(3, marks=SINCE_3_1)])
def test_the_base_score_in_the_unit_of_each_objective(name: Any, targets: int) -> None:
    x, y, weight = boosters.tumours()
    labels = boosters.with_missing(boosters.several_labels(y) if targets > 1 else y)
    score = base_score(labels, MASKED, weight=weight, objective=name)
    data = xgboost.DMatrix(x, labels, weight=weight)
    margins = margins_of(data, {"objective": name, "base_score": score}, rounds=0)
    expected = np.asarray(intercept(labels, MASKED, weight=weight))
    np.testing.assert_allclose(margins, np.broadcast_to(expected, margins.shape), rtol=1e-5)


def test_the_base_score_of_an_unknown_objective() -> None:
    with pytest.raises(ValueError, match=r"objective must be one of binary:logistic.*'rank:ndcg'"):
        base_score([0, 1], BCEWithLogitsLoss(), objective="rank:ndcg")  # type: ignore[arg-type]


@SINCE_3_1
def test_a_margin_taken_for_a_probability_is_what_base_score_avoids() -> None:
    x, y, _ = boosters.tumours()
    options = {"objective": objective(BCEWithLogitsLoss()), "n_estimators": 3, "n_jobs": 1}
    wrong = xgboost.XGBClassifier(base_score=0.0, **options).fit(x, y).score(x, y)
    start = base_score(y, BCEWithLogitsLoss())
    right = xgboost.XGBClassifier(base_score=start, **options).fit(x, y).score(x, y)
    assert wrong < 0.7
    assert right > 0.95


def test_the_objective_that_xgboost_tests_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """XGBoost's own test takes its objective from its module, where it is replaced."""
    testing = pytest.importorskip("xgboost.testing")
    basic_models = pytest.importorskip("xgboost.testing.basic_models")
    calls = []

    def counted(*arguments: Any) -> tuple[Array, Array]:
        calls.append(arguments)
        return objective(BCEWithLogitsLoss())(*arguments)

    monkeypatch.setattr(testing, "logregobj", counted)
    x, y, _ = boosters.tumours()
    train, test = xgboost.DMatrix(x[::2], y[::2]), xgboost.DMatrix(x[1::2], y[1::2])
    basic_models.run_custom_objective("hist", "cpu", train, test)
    assert len(calls) == 70  # Two models of ten rounds, and five folds of ten.


def test_nan_labels_are_refused() -> None:
    x, y, _ = boosters.tumours()
    y[3] = np.nan
    with pytest.raises(xgboost.core.XGBoostError, match=r"(?i)label.*nan"):
        xgboost.DMatrix(x, y)
    with pytest.raises(ValueError, match=r"no booster hands NaN labels on"):
        objective(BCEWithLogitsLoss(ignore_index=np.nan))


@pytest.mark.parametrize("make", [objective, metric])
def test_what_is_no_loss_object(make: Any) -> None:
    with pytest.raises(TypeError, match="loss must be a loss object"):
        make(BCEWithLogitsLoss)


def test_training_stops_at_a_bad_label_a_nan_margin_and_a_lack_of_labels() -> None:
    x, y, _ = boosters.tumours()
    bad = np.where(np.arange(len(y)) == 5, 2, y)
    with pytest.raises(ValueError, match=r"targets\[5\] is 2"):
        margins_of(xgboost.DMatrix(x, bad), {"base_score": 0.5}, obj=objective(MASKED))
    start = np.zeros(len(y))
    start[5] = np.nan
    with pytest.raises((ValueError, xgboost.core.XGBoostError), match=r"(?i)nan"):
        margins_of(xgboost.DMatrix(x, y, base_margin=start), {}, obj=objective(MASKED))
    with pytest.raises(ValueError, match="one label for each margin"):
        margins_of(xgboost.DMatrix(x), {}, obj=objective(MASKED))
    none = xgboost.DMatrix(x, np.full(len(y), MISSING))
    with pytest.raises(ValueError, match="the metric is not a number"):
        metric(MASKED)(start, none)


def test_a_classifier_that_takes_the_sentinel_for_a_class() -> None:
    x, y, _ = boosters.tumours()
    labels = np.where(boosters.with_missing(y) == MISSING, 2, y)
    loss = BCEWithLogitsLoss(ignore_index=2)
    with pytest.raises(ValueError, match="takes the sentinel of missing labels for"):
        xgboost.XGBClassifier(objective=objective(loss), n_estimators=1).fit(x, labels)


@pytest.mark.parametrize("make", [objective, metric])
def test_objects_can_be_shared(make: Any) -> None:
    one = make(BCEWithLogitsLoss(pos_weight=3.0))
    for other in (pickle.loads(pickle.dumps(one)), copy.deepcopy(one)):
        assert other == one
        assert hash(other) == hash(one)
    assert one != make(BCEWithLogitsLoss())
    assert "pos_weight=3.0" in repr(one)


@pytest.mark.filterwarnings("default")
def test_a_cluster_of_processes() -> None:
    """Uneven partitions: a mean of the workers' means would not be that of all rows."""
    array = pytest.importorskip("dask.array")
    xgboost_dask = pytest.importorskip("xgboost.dask")
    x, y, weight = boosters.tumours()
    x, labels = boosters.coarse(x), boosters.with_missing(y)
    rows = ((len(y) - 100, 100),)
    with boosters.cluster(2) as client:
        features = array.from_array(x, chunks=(*rows, x.shape[1]))
        weights = array.from_array(weight, chunks=rows)

        def trained(truth: Array, **options: Any) -> Any:
            data = xgboost_dask.DaskDMatrix(
                client, features, array.from_array(truth, chunks=rows), weight=weights
            )
            parameters = {**PARAMETERS, "base_score": 0.5, "disable_default_eval_metric": True}
            return xgboost_dask.train(
                client, parameters, data, 5, evals=[(data, "train")], **options
            )

        everything = xgboost.DMatrix(x)
        own = trained(y)["booster"].predict(everything, output_margin=True)
        ours = trained(y, obj=objective(MASKED))["booster"].predict(everything, output_margin=True)
        np.testing.assert_allclose(ours, own, rtol=0, atol=1e-4)
        masked = trained(labels, obj=objective(MASKED), custom_metric=metric(MASKED))
    margins = masked["booster"].predict(everything, output_margin=True)
    mean = MASKED.__replace__(reduction="weighted_mean")(margins, labels, weight=weight)
    assert masked["history"]["train"]["logitloss"][-1] == pytest.approx(mean, abs=2e-6)


def test_examples() -> None:
    boosters.run_examples(integration)


@SINCE_3_1
def test_the_page() -> None:
    boosters.run_document("xgboost.md")

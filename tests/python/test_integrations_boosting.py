"""What the integrations of the boosters have in common; needs none of them."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest

import boosters
import logitloss
import oracle
from arrays import lay_out
from boosters import MISSING, assert_derivatives, assert_layout
from logitloss import BCEWithLogitsLoss
from logitloss.integrations import _boosting
from oracle import Array

SHAPES = [(60,), (20, 3)]
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "pos_weight": {"pos_weight": 3.0},
    "smoothing": {"label_smoothing": 0.1},
    "sentinel": {"ignore_index": MISSING},
    "all": {"pos_weight": 0.5, "label_smoothing": 0.25, "ignore_index": MISSING, "weight": 2.0},
}


def inputs(shape: tuple[int, ...], dtype: Any = np.float32) -> tuple[Array, Array, Array]:
    """Return margins, hard labels and weights of the rows."""
    rng = np.random.default_rng(0)
    margins = rng.normal(0, 6, shape).astype(dtype)
    return margins, rng.integers(0, 2, shape).astype(np.float32), rng.exponential(1, shape[0])


def derivatives(
    loss: Any, margins: Any, labels: Any, weight: Any = None, min_hessian: float = 0.0
) -> tuple[Array, Array]:
    """Call the common code as the adapters do."""
    aligned = _boosting.aligned(margins, labels, weight)
    return _boosting.derivatives(_boosting.summed(loss), *aligned, min_hessian)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("name", OPTIONS)
def test_derivatives(name: str, weighted: bool, dtype: Any, shape: tuple[int, ...]) -> None:
    options = OPTIONS[name]
    margins, labels, weight = inputs(shape, dtype)
    if "ignore_index" in options:
        labels = boosters.with_missing(labels)
    given = weight if weighted else None
    grad, hess = derivatives(BCEWithLogitsLoss(**options), margins, labels, given)
    assert_layout(grad, hess, dtype=dtype, shape=shape)
    rows = (weight if weighted else np.ones(len(weight))).reshape(-1, *(1,) * (len(shape) - 1))
    elementwise = {**options, "weight": rows * options.get("weight", 1.0)}
    assert_derivatives(grad, hess, margins, labels, **elementwise)


def test_weights_a_target() -> None:
    margins, labels, weight = inputs((20, 3))
    own: dict[str, Any] = {
        "weight": np.array([1.0, 2.0, 0.5]),
        "pos_weight": np.array([4.0, 1.0, 0.25]),
    }
    grad, hess = derivatives(BCEWithLogitsLoss(**own), margins, labels, weight)
    expected = {"weight": weight[:, np.newaxis] * own["weight"], "pos_weight": own["pos_weight"]}
    assert_derivatives(grad, hess, margins, labels, **expected)


@pytest.mark.parametrize("reduction", ["mean", "none", "weighted_mean", "sum"])
def test_the_reduction_does_not_matter(reduction: Any) -> None:
    margins, labels, weight = inputs((20, 3))
    expected = derivatives(BCEWithLogitsLoss(), margins, labels, weight)
    for axis in (None,) if reduction == "none" else (None, 0, 1):
        loss = BCEWithLogitsLoss(reduction=reduction, axis=axis)
        np.testing.assert_array_equal(derivatives(loss, margins, labels, weight), expected)


@pytest.mark.parametrize("layout", ["fortran", "reversed", "sliced", "readonly"])
def test_any_layout_gives_plain_arrays(layout: str) -> None:
    margins, labels, _ = inputs((20, 3))
    results = derivatives(BCEWithLogitsLoss(), lay_out(margins, layout), lay_out(labels, layout))
    assert_layout(*results, dtype=np.float32, shape=(20, 3))
    np.testing.assert_array_equal(results, derivatives(BCEWithLogitsLoss(), margins, labels))


@pytest.mark.parametrize("dtype", [">f4", ">f8", "f2", "i4"])
def test_dtypes_that_boosters_misread_are_never_returned(dtype: str) -> None:
    margins, labels, _ = inputs((20,), np.dtype(dtype))
    results = derivatives(BCEWithLogitsLoss(), margins, labels)
    assert_layout(*results, dtype=np.float64, shape=(20,))
    assert_derivatives(*results, margins.astype(np.float64), labels)


def test_missing_labels_have_no_derivatives_whatever_the_margin() -> None:
    margins = np.array([0.5, np.nan, np.inf, -np.inf, 3.0], np.float32)
    labels = np.full(5, MISSING)
    loss = BCEWithLogitsLoss(ignore_index=MISSING)
    results = derivatives(loss, margins, labels, min_hessian=0.5)
    np.testing.assert_array_equal(results, np.zeros((2, 5)))


@pytest.mark.parametrize("floor", [1e-16, 0.1, 0.0])
def test_the_smallest_hessian(floor: float) -> None:
    margins = np.array([60, -60, 200, 500, -500, 0, 60, 60, 0.5], np.float32)
    labels = np.array([1, 0, 1, 0, 0, 1, MISSING, 1, MISSING])
    weight = np.array([1, 2, 1, 1, 1, 1, 1, 0, 1])
    loss = BCEWithLogitsLoss(ignore_index=MISSING)
    grad, hess = derivatives(loss, margins, labels, weight, floor)
    exact = oracle.elements(margins, labels, weight=weight, ignore_index=MISSING)
    counts = exact.exists & (weight > 0)
    expected = np.where(counts, np.maximum(exact.hess.astype(np.float64), floor), 0)
    np.testing.assert_allclose(hess, expected, rtol=1e-6, atol=1e-45)
    np.testing.assert_allclose(grad, exact.grad.astype(np.float64), rtol=1e-6, atol=1e-45)


class Concave(BCEWithLogitsLoss):
    """A loss whose hessians are negative here and there."""

    def grad_hess(self, *arguments: Any, **options: Any) -> tuple[Array, Array]:
        grad, hess = super().grad_hess(*arguments, **options)
        return grad, np.where(grad < 0, -hess, hess)


def test_negative_hessians_become_the_smallest_one() -> None:
    margins, labels, _ = inputs((60,))
    grad, hess = derivatives(Concave(), margins, labels, min_hessian=0.01)
    plain = derivatives(BCEWithLogitsLoss(), margins, labels)[1]
    np.testing.assert_array_equal(
        hess, np.where(grad < 0, 0.01, np.maximum(plain, 0.01)).astype("f4")
    )


@pytest.mark.parametrize(
    ("margin", "label", "weight"),
    [(np.nan, 1, 1), (np.nan, 0, 0), (1.0, 1, np.inf), (1.0, 0, np.nan)],
)
def test_derivatives_that_are_no_numbers(margin: float, label: int, weight: float) -> None:
    margins, labels, weights = inputs((20, 3))
    margins[7, 2], labels[7, 2], weights[7] = margin, label, weight
    with pytest.raises(ValueError, match=r"gradient at \(7, [02]\) is (nan|inf|-inf).*for margin"):
        derivatives(BCEWithLogitsLoss(), margins, labels, weights)


def test_derivatives_whose_sum_overflows() -> None:
    weight = np.full(4, 1e38)
    grad, hess = derivatives(BCEWithLogitsLoss(), np.full(4, 30, np.float32), np.zeros(4), weight)
    np.testing.assert_allclose(grad, weight, rtol=1e-6)
    assert np.isfinite(hess).all()


@pytest.mark.parametrize("label", [np.nan, 2.0, -1.0])
def test_bad_labels(label: float) -> None:
    margins, labels, _ = inputs((20,))
    labels[7] = label
    with pytest.raises(ValueError, match=r"targets\[7\]"):
        derivatives(BCEWithLogitsLoss(), margins, labels)
    with pytest.raises(ValueError, match=r"targets\[7\]"):
        _boosting.intercept(labels, BCEWithLogitsLoss())


def test_nan_labels_are_found_without_validation_too() -> None:
    margins, labels, _ = inputs((20,))
    labels[7] = np.nan
    with pytest.raises(ValueError, match=r"gradient at \(7,\) is nan.*label nan"):
        derivatives(BCEWithLogitsLoss(validate=False), margins, labels)


@pytest.mark.parametrize(
    ("margins", "labels"),
    [((8, 3), (8,)), ((8,), (7,)), ((8, 3), (3, 8)), ((8,), (8, 1)), ((8,), (0,))],
)
def test_margins_and_labels_that_do_not_match(margins: Any, labels: Any) -> None:
    with pytest.raises(
        ValueError, match=re.escape(f"margins have shape {margins} and the labels {labels}")
    ):
        derivatives(BCEWithLogitsLoss(), np.zeros(margins), np.zeros(labels))


def test_a_flat_matrix_of_labels() -> None:
    margins, labels, _ = inputs((20, 3))
    expected = derivatives(BCEWithLogitsLoss(), margins, labels)
    np.testing.assert_array_equal(
        derivatives(BCEWithLogitsLoss(), margins, labels.ravel()), expected
    )


def test_weights_that_do_not_match() -> None:
    with pytest.raises(ValueError, match=r"one weight for each of 8 rows.*\(3,\)"):
        derivatives(BCEWithLogitsLoss(), np.zeros((8, 3)), np.zeros((8, 3)), np.ones(3))


@pytest.mark.parametrize(
    "loss", [BCEWithLogitsLoss, logitloss.bce_with_logits, "logistic", None], ids=str
)
def test_what_is_no_loss_object(loss: Any) -> None:
    with pytest.raises(TypeError, match="loss must be a loss object"):
        _boosting.summed(loss)


def test_nan_as_the_sentinel() -> None:
    with pytest.raises(ValueError, match=r"no booster hands NaN labels on.*ignore_index=-1"):
        _boosting.summed(BCEWithLogitsLoss(ignore_index=math.nan, pos_weight=[1.0, 2.0]))


@pytest.mark.parametrize("value", [-1e-16, math.inf, math.nan])
def test_a_bad_smallest_hessian(value: float) -> None:
    with pytest.raises(ValueError, match="min_hessian must be a finite number >= 0"):
        _boosting.checked_min_hessian(value)
    text: Any = str(value)
    with pytest.raises(TypeError, match="min_hessian must be a number"):
        _boosting.checked_min_hessian(text)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", OPTIONS)
def test_losses_and_weights(name: str, shape: tuple[int, ...]) -> None:
    options = OPTIONS[name]
    margins, labels, weight = inputs(shape, np.float64)
    if "ignore_index" in options:
        labels = boosters.with_missing(labels)
    loss = _boosting.summed(BCEWithLogitsLoss(**options))
    sums = _boosting.loss_and_weight(loss, *_boosting.aligned(margins, labels, weight))
    rows = weight.reshape(-1, *(1,) * (len(shape) - 1)) * options.get("weight", 1.0)
    exact = oracle.elements(margins, labels, **{**options, "weight": rows})
    np.testing.assert_allclose(sums, [exact.loss.sum(), exact.weight.sum()], rtol=1e-13)
    assert _boosting.mean_loss(*sums) == pytest.approx(float(exact.loss.sum() / exact.weight.sum()))


def test_no_label_to_average() -> None:
    loss = _boosting.summed(BCEWithLogitsLoss(ignore_index=MISSING))
    sums = _boosting.loss_and_weight(loss, np.zeros(3), np.full(3, MISSING), None)
    assert sums == (0.0, 0.0)
    with pytest.raises(ValueError, match="the metric is not a number"):
        _boosting.mean_loss(*sums)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("pos_weight", [None, 3.0])
@pytest.mark.parametrize("scale", [1.0, 1e-9, 1e9])
def test_the_intercept_is_the_log_odds(
    smoothing: float, pos_weight: float | None, scale: float
) -> None:
    rng = np.random.default_rng(3)
    labels = boosters.with_missing((rng.random((500, 3)) < [0.5, 0.1, 0.99]).astype(np.float64))
    weight = rng.exponential(scale, 500)
    loss = BCEWithLogitsLoss(
        ignore_index=MISSING, pos_weight=pos_weight, label_smoothing=smoothing, axis=0
    )
    soft = labels * (1 - smoothing) + smoothing / 2
    counted = np.where(labels == MISSING, 0, weight[:, np.newaxis])
    positive, negative = (counted * soft).sum(axis=0), (counted * (1 - soft)).sum(axis=0)
    expected = np.log((pos_weight or 1) * positive / negative)
    actual = _boosting.intercept(labels, loss, weight=weight)
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)
    one = _boosting.intercept(labels[:, 1], loss, weight=weight)
    assert type(one) is float
    assert one == pytest.approx(expected[1], rel=1e-12)


def test_an_extreme_intercept() -> None:
    weight = np.array([1e-100, 1.0])
    expected = -100 * math.log(10)
    actual = _boosting.intercept(np.array([1, 0]), BCEWithLogitsLoss(), weight=weight)
    assert actual == pytest.approx(expected, rel=1e-12)


class Squared(BCEWithLogitsLoss):
    """Squared error of the probability: not convex, and no cross-entropy."""

    def grad_hess(self, logits: Any, targets: Any, **_: Any) -> tuple[Array, Array]:
        s = 1 / (1 + np.exp(-np.asarray(logits)))
        slope = s / (1 + np.exp(np.asarray(logits)))
        return 2 * (s - targets) * slope, 2 * slope * (slope + (s - targets) * (1 - 2 * s))


def test_the_intercept_of_another_loss() -> None:
    """The mean minimises squared error; far out its gradient vanishes, and so do its digits."""
    labels = (np.random.default_rng(4).random((300, 2)) < [0.2, 0.7]).astype(np.float64)
    mean = labels.mean(axis=0)
    actual = _boosting.intercept(labels, Squared())
    np.testing.assert_allclose(actual, np.log(mean / (1 - mean)), rtol=1e-9)


@pytest.mark.parametrize("labels", [[1, 1, MISSING], [0, 0], [MISSING, MISSING], []], ids=str)
def test_there_is_no_finite_intercept(labels: list[int]) -> None:
    loss = BCEWithLogitsLoss(ignore_index=MISSING)
    with pytest.raises(ValueError, match="there are not both a positive and a negative label"):
        _boosting.intercept(labels, loss)
    matrix = np.column_stack([np.arange(len(labels)) % 2, labels]).reshape(-1, 2)
    if len(labels):
        with pytest.raises(ValueError, match="target 1 has not both a positive and a negative"):
            _boosting.intercept(matrix, loss)


def test_a_cube_of_labels() -> None:
    with pytest.raises(ValueError, match=r"shape \(n,\) or \(n, k\), not \(2, 2, 2\)"):
        _boosting.intercept(np.zeros((2, 2, 2)), BCEWithLogitsLoss())


def test_examples() -> None:
    boosters.run_examples(_boosting)

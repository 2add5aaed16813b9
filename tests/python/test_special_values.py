"""Infinities, NaN, zeros, subnormals and the largest numbers: one test per cell of the table."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import logitloss
import oracle
from arrays import LOGIT_DTYPES, dtype_name, same_bits
from oracle import FORMATS, Array, Reduction

INF, NAN, LN2 = math.inf, math.nan, math.log(2.0)

dtypes = pytest.mark.parametrize("dtype", LOGIT_DTYPES, ids=dtype_name)

# Logit, target, loss, gradient, hessian.
TABLE = [
    (INF, 0.0, INF, 1.0, 0.0),
    (INF, 1.0, 0.0, 0.0, 0.0),
    (INF, 0.25, INF, 0.75, 0.0),
    (-INF, 0.0, 0.0, 0.0, 0.0),
    (-INF, 1.0, INF, -1.0, 0.0),
    (-INF, 0.25, INF, -0.25, 0.0),
    (NAN, 0.0, NAN, NAN, NAN),
    (NAN, 1.0, NAN, NAN, NAN),
    (NAN, 0.25, NAN, NAN, NAN),
    (0.0, 0.0, LN2, 0.5, 0.25),
    (0.0, 1.0, LN2, -0.5, 0.25),
    (0.0, 0.25, LN2, 0.25, 0.25),
    (-0.0, 0.0, LN2, 0.5, 0.25),
    (-0.0, 1.0, LN2, -0.5, 0.25),
    (-0.0, 0.25, LN2, 0.25, 0.25),
]


def results(logit: Any, target: Any, dtype: np.dtype[Any], **options: Any) -> tuple[float, ...]:
    """Return loss, gradient and hessian of one element, repeated so that a full tile is used."""
    logits = np.full(300, logit).astype(dtype)
    targets = np.full(300, target)
    loss = logitloss.bce_with_logits(logits, targets, reduction="none", **options)
    grad, hess = logitloss.bce_with_logits_grad_hess(logits, targets, reduction="none", **options)
    for result in (loss, grad, hess):
        assert same_bits(result, result[:1].repeat(300))
    return float(loss[0]), float(grad[0]), float(hess[0])


def as_rounded(value: float, dtype: np.dtype[Any]) -> float:
    """Return a float64 number rounded to the dtype."""
    return float(np.asarray(value).astype(dtype))


def extremes(dtype: np.dtype[Any]) -> dict[str, Array]:
    """Return the largest number, the smallest one and the largest and smallest subnormals."""
    form = FORMATS[dtype]
    normal = 1 << form.fraction_bits
    largest = ((form.max_exponent - form.min_exponent + 2) << form.fraction_bits) - 1
    patterns = {"max": largest, "normal": normal, "subnormal": normal - 1, "least": 1}
    unsigned = np.dtype(f"u{dtype.itemsize}")
    return {name: np.asarray(n, unsigned).view(dtype) for name, n in patterns.items()}


@dtypes
@pytest.mark.parametrize(("logit", "target", "loss", "grad", "hess"), TABLE)
def test_table(
    dtype: np.dtype[Any], logit: float, target: float, loss: float, grad: float, hess: float
) -> None:
    expected = [as_rounded(value, dtype) for value in (loss, grad, hess)]
    np.testing.assert_array_equal(results(logit, target, dtype), expected)


@dtypes
@pytest.mark.parametrize("target", [0.0, 1.0, 0.25])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("name", ["max", "normal", "subnormal", "least"])
def test_extremes_are_correctly_rounded(
    dtype: np.dtype[Any], name: str, sign: int, target: float
) -> None:
    logit = (extremes(dtype)[name] * np.asarray(sign, dtype))[()]
    exact = oracle.elements(logit, target)
    expected = [float(oracle.rounded(v, dtype)) for v in (exact.loss, exact.grad, exact.hess)]
    actual = results(logit, target, dtype)
    assert all(math.isfinite(value) for value in actual)
    np.testing.assert_array_equal(actual, expected)


@dtypes
@pytest.mark.parametrize("target", [0.0, 1.0, 0.25])
@pytest.mark.parametrize("logit", [INF, -INF, 3.0])
def test_zero_weight_gives_zero(dtype: np.dtype[Any], logit: float, target: float) -> None:
    assert results(logit, target, dtype, weight=0.0) == (0.0, 0.0, 0.0)
    assert results(logit, target, dtype, weight=np.zeros(300)) == (0.0, 0.0, 0.0)


@dtypes
@pytest.mark.parametrize("target", [0.0, 1.0, 0.25])
def test_zero_weight_does_not_hide_a_nan(dtype: np.dtype[Any], target: float) -> None:
    assert all(math.isnan(value) for value in results(NAN, target, dtype, weight=0.0))


@dtypes
@pytest.mark.parametrize("logit", [INF, -INF, NAN])
@pytest.mark.parametrize("target", [0.0, 1.0, 0.25, NAN, INF, -7.0])
@pytest.mark.parametrize("weight", [1.0, NAN, INF])
def test_where_hides_anything(
    dtype: np.dtype[Any], logit: float, target: float, weight: float
) -> None:
    hidden = {"where": np.zeros(300, np.bool_), "weight": np.full(300, weight)}
    assert results(logit, target, dtype, **hidden) == (0.0, 0.0, 0.0)


@dtypes
@pytest.mark.parametrize("logit", [INF, -INF, NAN])
@pytest.mark.parametrize("missing", [-1.0, 255.0, NAN])
def test_ignore_index_hides_anything(dtype: np.dtype[Any], logit: float, missing: float) -> None:
    hidden = {"ignore_index": missing, "weight": np.full(300, NAN)}
    assert results(logit, missing, dtype, **hidden) == (0.0, 0.0, 0.0)


@dtypes
def test_hidden_elements_do_not_reach_a_reduction(dtype: np.dtype[Any]) -> None:
    logits = np.array([0, NAN, INF, 0], dtype)
    targets = np.array([1.0, NAN, 0.0, 0.0])
    where = np.array([True, False, False, True])
    value, grad = logitloss.bce_with_logits_value_and_grad(logits, targets, where=where)
    assert value == pytest.approx(LN2, rel=2.0**-6)
    np.testing.assert_array_equal(grad.astype(np.float64), [-0.25, 0, 0, 0.25])


@dtypes
def test_an_infinite_logit_with_the_right_label_costs_nothing(dtype: np.dtype[Any]) -> None:
    logits = np.array([INF, -INF, 0, 0], dtype)
    targets = np.array([1, 0, 1, 0], np.uint8)
    value, grad = logitloss.bce_with_logits_value_and_grad(logits, targets)
    assert value == pytest.approx(LN2 / 2, rel=2.0**-6)
    np.testing.assert_array_equal(grad.astype(np.float64), [0, 0, -0.125, 0.125])


@dtypes
@pytest.mark.parametrize("reduction", ["sum", "mean", "weighted_mean"])
def test_an_infinite_loss_makes_the_value_infinite(
    dtype: np.dtype[Any], reduction: Reduction
) -> None:
    logits = np.array([INF, 0, 0], dtype)
    targets = np.array([0, 1, 0], np.uint8)
    assert logitloss.bce_with_logits(logits, targets, reduction=reduction) == INF


@dtypes
@pytest.mark.parametrize("reduction", ["sum", "mean", "weighted_mean"])
def test_a_nan_logit_makes_the_value_nan(dtype: np.dtype[Any], reduction: Reduction) -> None:
    logits = np.array([NAN, INF, 0], dtype)
    targets = np.array([0, 0, 0], np.uint8)
    assert math.isnan(logitloss.bce_with_logits(logits, targets, reduction=reduction))


@dtypes
@pytest.mark.parametrize(
    ("logit", "target", "pos_weight", "expected"),
    [
        (INF, 1.0, 3.0, (0.0, 0.0, 0.0)),
        (-INF, 1.0, 3.0, (INF, -3.0, 0.0)),
        (-INF, 1.0, 0.0, (0.0, 0.0, 0.0)),
        (INF, 0.0, 3.0, (INF, 1.0, 0.0)),
        (-INF, 0.25, 2.0, (INF, -0.5, 0.0)),
        (INF, 0.25, 2.0, (INF, 0.75, 0.0)),
    ],
)
def test_pos_weight_at_infinity(
    dtype: np.dtype[Any],
    logit: float,
    target: float,
    pos_weight: float,
    expected: tuple[float, ...],
) -> None:
    assert results(logit, target, dtype, pos_weight=pos_weight) == expected


@dtypes
@pytest.mark.parametrize(
    ("logit", "target", "expected"),
    [
        (INF, 1.0, (INF, 0.25, 0.0)),
        (INF, 0.0, (INF, 0.75, 0.0)),
        (-INF, 1.0, (INF, -0.75, 0.0)),
        (-INF, 0.0, (INF, -0.25, 0.0)),
    ],
)
def test_label_smoothing_at_infinity(
    dtype: np.dtype[Any], logit: float, target: float, expected: tuple[float, ...]
) -> None:
    assert results(logit, target, dtype, label_smoothing=0.5) == expected


@dtypes
def test_special_values_do_not_disturb_their_neighbours(dtype: np.dtype[Any]) -> None:
    """An element's result does not depend on the elements beside it in a vector register."""
    logits = np.linspace(-4, 4, 257).astype(dtype)
    targets = np.arange(257) % 2
    expected = logitloss.bce_with_logits_grad(logits, targets, reduction="none")
    for position, special in enumerate([NAN, INF, -INF, float(extremes(dtype)["max"])] * 16):
        disturbed = logits.copy()
        disturbed[4 * position] = special
        actual = logitloss.bce_with_logits_grad(disturbed, targets, reduction="none")
        others = np.arange(257) != 4 * position
        assert same_bits(actual[others], expected[others])

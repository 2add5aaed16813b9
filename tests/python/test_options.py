"""weight, pos_weight, label_smoothing, where, ignore_index, validate, and all of them together."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import logitloss
import oracle
from arrays import (
    INT_DTYPES,
    LOGIT_DTYPES,
    NUMERIC_DTYPES,
    dtype_name,
    hard_targets,
    is_float,
    same_bits,
    soft_targets,
    spread_logits,
)
from oracle import Array

# Four units for the element, one for the soft target and one for each option that is rounded.
LIMIT = 8.0
SHAPE = (4, 3, 5, 37)
BROADCASTABLE: tuple[tuple[int, ...], ...] = (
    (),
    (1,),
    (37,),
    (5, 1),
    (5, 37),
    (3, 1, 1),
    (1, 3, 5, 1),
    (4, 1, 1, 1),
    (1, 1, 1, 1),
    SHAPE,
)

logit_dtypes = pytest.mark.parametrize("dtype", LOGIT_DTYPES, ids=dtype_name)
option_dtypes = pytest.mark.parametrize("option_dtype", NUMERIC_DTYPES, ids=dtype_name)
broadcastable = pytest.mark.parametrize("shape", BROADCASTABLE, ids=str)
weight_names = pytest.mark.parametrize("name", ["weight", "pos_weight"])


def inputs(dtype: Any) -> tuple[Array, Array]:
    """Return logits over bit patterns, below overflow, and soft targets."""
    size = math.prod(SHAPE)
    logits = spread_logits(dtype, size, seed=9)
    logits = np.where(np.abs(logits) > 1e4, np.asarray(20).astype(dtype), logits)
    return logits.reshape(SHAPE), soft_targets(np.float32, size).reshape(SHAPE)


def worst_error(logits: Array, targets: Array, **options: Any) -> float:
    """Return the largest error of loss, gradient and hessian, elementwise, in units."""
    options["reduction"] = "none"
    loss = logitloss.bce_with_logits(logits, targets, **options)
    grad, hess = logitloss.bce_with_logits_grad_hess(logits, targets, **options)
    options.pop("validate", None)
    exact = oracle.answer(logits, targets, **options)
    lowest = oracle.term_scale(0 * exact.total, exact.total, logits.dtype)
    terms = oracle.term_scale(exact.grad_terms, exact.total, logits.dtype)
    triples = ((loss, exact.value, lowest), (grad, exact.grad, terms), (hess, exact.hess, lowest))
    return max(
        oracle.worst(oracle.ulp_error(actual, wanted, logits.dtype, scale))
        for actual, wanted, scale in triples
    )


def numbers(shape: tuple[int, ...], dtype: Any) -> Array:
    """Return positive weights that the dtype holds exactly or nearly so."""
    rng = np.random.default_rng(11)
    drawn = (
        rng.integers(1, 8, shape) if not is_float(np.dtype(dtype)) else rng.uniform(0.3, 3, shape)
    )
    return np.asarray(drawn).astype(dtype)


@weight_names
@broadcastable
@logit_dtypes
def test_weights_of_every_shape(dtype: np.dtype[Any], shape: tuple[int, ...], name: str) -> None:
    logits, targets = inputs(dtype)
    assert worst_error(logits, targets, **{name: numbers(shape, np.float64)}) <= LIMIT


@weight_names
@option_dtypes
@logit_dtypes
def test_weights_of_every_dtype(
    dtype: np.dtype[Any], option_dtype: np.dtype[Any], name: str
) -> None:
    logits, targets = inputs(dtype)
    for shape in ((37,), (3, 1, 1)):
        assert worst_error(logits, targets, **{name: numbers(shape, option_dtype)}) <= LIMIT


@weight_names
@pytest.mark.parametrize("value", [2, 0.3, 0, np.float32(1.5), np.int16(3), [2.0] * 37])
def test_weights_of_every_kind(name: str, value: Any) -> None:
    logits, targets = inputs(np.float32)
    assert worst_error(logits, targets, **{name: value}) <= LIMIT


def test_weight_multiplies_loss_gradient_and_hessian() -> None:
    logits, targets = inputs(np.float64)
    weight = np.full(SHAPE, 4.0)
    plain = logitloss.bce_with_logits_value_and_grad(logits, targets, reduction="none")
    heavy = logitloss.bce_with_logits_value_and_grad(
        logits, targets, weight=weight, reduction="none"
    )
    for one, four in zip(plain, heavy, strict=True):
        # Only subnormals lose bits of their own before a multiplication by four.
        normal = np.abs(one) >= np.finfo(np.float64).tiny
        assert same_bits(4 * one[normal], four[normal])


def test_pos_weight_multiplies_the_positive_part_only() -> None:
    logits, _ = inputs(np.float64)
    ones, zeros = np.ones(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    options: dict[str, Any] = {"reduction": "none"}
    plain = logitloss.bce_with_logits(logits, zeros, **options)
    assert same_bits(logitloss.bce_with_logits(logits, zeros, pos_weight=9.0, **options), plain)
    heavy = logitloss.bce_with_logits(logits, ones, pos_weight=2.0, **options)
    single = logitloss.bce_with_logits(logits, ones, **options)
    normal = single >= np.finfo(np.float64).tiny
    assert same_bits(heavy[normal], 2 * single[normal])


def test_a_vector_is_per_class_on_the_last_axis() -> None:
    pos_weight = np.array([1.0, 2.0, 4.0])
    loss = logitloss.bce_with_logits(
        np.zeros((3, 3)), np.ones((3, 3)), pos_weight=pos_weight, reduction="none"
    )
    assert same_bits(loss, np.broadcast_to(math.log(2) * pos_weight, (3, 3)))


@pytest.mark.parametrize("smoothing", [1e-300, 1e-9, 0.1, 0.5, 0.999, 1.0 - 1e-9, 1.0 - 2.0**-53])
@logit_dtypes
def test_label_smoothing(dtype: np.dtype[Any], smoothing: float) -> None:
    logits, targets = inputs(dtype)
    assert worst_error(logits, targets, label_smoothing=smoothing) <= LIMIT
    assert worst_error(logits, np.round(targets), label_smoothing=smoothing) <= LIMIT


def test_label_smoothing_forms_the_complement_directly() -> None:
    """1 - (y(1-e) + e/2) would round to 0 or to a multiple of 2**-24 in float32."""
    smoothing = 1e-12
    logits = np.full(300, 60.0, np.float32)
    grad = logitloss.bce_with_logits_grad(
        logits, np.ones(300, np.uint8), label_smoothing=smoothing, reduction="none"
    )
    np.testing.assert_allclose(grad, smoothing / 2, rtol=4e-7)


def test_label_smoothing_takes_the_types_of_numbers() -> None:
    logits, targets = inputs(np.float64)
    expected = logitloss.bce_with_logits(logits, targets, label_smoothing=0.5)
    assert logitloss.bce_with_logits(logits, targets, label_smoothing=np.float32(0.5)) == expected
    plain = logitloss.bce_with_logits(logits, targets)
    assert logitloss.bce_with_logits(logits, targets, label_smoothing=0) == plain


@broadcastable
@logit_dtypes
def test_where_of_every_shape(dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    logits, targets = inputs(dtype)
    where = np.random.default_rng(12).random(shape) < 0.6
    hidden = ~np.broadcast_to(where, SHAPE)
    spoilt, junk_targets = logits.copy(), targets.copy()
    spoilt[hidden], junk_targets[hidden] = math.nan, math.nan
    grad, hess = logitloss.bce_with_logits_grad_hess(spoilt, junk_targets, where=where)
    assert worst_error(spoilt, junk_targets, where=where) <= LIMIT
    assert not np.any(grad[hidden])
    assert not np.any(hess[hidden])


@pytest.mark.parametrize("where", [True, False, np.True_, np.False_, [True] * 37])
def test_where_of_every_kind(where: Any) -> None:
    logits, targets = inputs(np.float32)
    value = logitloss.bce_with_logits(logits, targets, where=where, reduction="sum")
    expected = oracle.answer(logits, targets, where=where, reduction="sum")
    assert oracle.worst(oracle.value_error(value, expected, np.float32)) <= 2


@pytest.mark.parametrize("target_dtype", INT_DTYPES, ids=dtype_name)
@pytest.mark.parametrize("missing", [-1, 255, 100])
def test_ignore_index_of_integer_targets(target_dtype: np.dtype[Any], missing: int) -> None:
    if not np.iinfo(target_dtype).min <= missing <= np.iinfo(target_dtype).max:
        missing = 1
    logits, _ = inputs(np.float32)
    targets = hard_targets(target_dtype, logits.size).reshape(SHAPE)
    targets[:, 1] = missing
    assert worst_error(logits, targets, ignore_index=missing) <= LIMIT
    value = logitloss.bce_with_logits(logits, targets, ignore_index=missing)
    expected = oracle.answer(logits, targets, ignore_index=missing)
    assert oracle.worst(oracle.value_error(value, expected, np.float32)) <= 2


@pytest.mark.parametrize("target_dtype", LOGIT_DTYPES, ids=dtype_name)
@pytest.mark.parametrize("missing", [-1, 255, -1.0, 0.5, 0, 1, math.nan, math.inf])
def test_ignore_index_of_float_targets(target_dtype: np.dtype[Any], missing: float) -> None:
    logits, targets = inputs(np.float32)
    targets = targets.astype(target_dtype)
    targets[:, 1] = missing
    assert worst_error(logits, targets, ignore_index=missing) <= LIMIT


@pytest.mark.parametrize("missing", [0, 1])
def test_ignore_index_of_bool_targets(missing: int) -> None:
    logits, _ = inputs(np.float32)
    targets = hard_targets(np.bool_, logits.size).reshape(SHAPE)
    grad = logitloss.bce_with_logits_grad(logits, targets, ignore_index=missing)
    assert not np.any(grad[targets == missing])
    assert worst_error(logits, targets, ignore_index=missing) <= LIMIT


@pytest.mark.parametrize(
    ("target_dtype", "missing", "stored"),
    [(np.uint8, -1, 255), (np.int8, 255, -1), (np.uint16, -1, 65535), (np.uint64, -1, 2**64 - 1)],
)
def test_an_ignore_index_does_not_wrap_around(target_dtype: Any, missing: int, stored: int) -> None:
    """A value that the dtype cannot hold marks nothing, whatever its bits would be there."""
    targets = np.array([0, stored], target_dtype)
    with pytest.raises(ValueError, match="targets"):
        logitloss.bce_with_logits([0.0, 0.0], targets, ignore_index=missing)


@pytest.mark.parametrize("missing", [-1, 255, math.nan, 0.5, 1e300])
def test_an_ignore_index_that_never_occurs_changes_nothing(missing: float) -> None:
    logits, _ = inputs(np.float32)
    for target_dtype in (np.bool_, np.uint8, np.int8, np.int64, np.float32):
        targets = hard_targets(target_dtype, logits.size).reshape(SHAPE)
        expected = logitloss.bce_with_logits_grad(logits, targets)
        grad = logitloss.bce_with_logits_grad(logits, targets, ignore_index=missing)
        assert same_bits(grad, expected)


@logit_dtypes
@pytest.mark.parametrize("reduction", ["none", "sum", "mean", "weighted_mean"])
def test_all_options_together(dtype: np.dtype[Any], reduction: oracle.Reduction) -> None:
    logits, targets = inputs(dtype)
    rng = np.random.default_rng(13)
    targets[rng.random(SHAPE) < 0.2] = math.nan
    options: dict[str, Any] = {
        "weight": rng.uniform(0.5, 2, (4, 1, 1, 1)),
        "pos_weight": rng.uniform(0.5, 2, 37).astype(np.float32),
        "label_smoothing": 0.2,
        "where": rng.random((3, 1, 37)) < 0.7,
        "ignore_index": math.nan,
    }
    assert worst_error(logits, targets, **options) <= LIMIT
    if reduction != "none":
        value = logitloss.bce_with_logits(logits, targets, reduction=reduction, **options)
        expected = oracle.answer(logits, targets, reduction=reduction, **options)
        assert oracle.worst(oracle.value_error(value, expected, dtype)) <= 5


@pytest.mark.parametrize("target", [-1.0, 2.0, -0.25, 7.0])
def test_without_validation_the_formulas_are_applied_as_they_are(target: float) -> None:
    logits = np.linspace(-20, 20, 500)
    targets = np.full(500, target)
    options: dict[str, Any] = {"reduction": "none", "validate": False}
    loss = logitloss.bce_with_logits(logits, targets, **options)
    grad, hess = logitloss.bce_with_logits_grad_hess(logits, targets, **options)
    exact = oracle.elements(logits, targets)
    np.testing.assert_allclose(loss, exact.loss.astype(float), rtol=1e-14, atol=1e-13)
    np.testing.assert_allclose(grad, exact.grad.astype(float), rtol=1e-14, atol=1e-14)
    np.testing.assert_allclose(hess, exact.hess.astype(float), rtol=1e-14, atol=1e-300)


def test_without_validation_a_nan_target_gives_nan() -> None:
    targets = np.array([0.0, math.nan, 1.0])
    grad = logitloss.bce_with_logits_grad(np.zeros(3), targets, validate=False, reduction="none")
    np.testing.assert_array_equal(grad, [0.5, math.nan, -0.5])


def test_validation_does_not_change_good_results() -> None:
    logits, targets = inputs(np.float32)
    for reduction in ("none", "sum", "mean", "weighted_mean"):
        checked, unchecked = (
            logitloss.bce_with_logits_value_and_grad(
                logits, targets, reduction=reduction, validate=validate
            )
            for validate in (True, False)
        )
        for one, two in zip(checked, unchecked, strict=True):
            assert same_bits(one, two), reduction

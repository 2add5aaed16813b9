"""Weights and grad_output beyond 2**60 or below 2**-60: float32 cannot multiply safely by them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import logitloss
import oracle
from arrays import LOGIT_DTYPES, dtype_name, hard_targets, same_bits, soft_targets
from oracle import Array, Axis, Reduction

# Longer than one tile of the core, and no multiple of one.
SHAPE = (3, 1500)
VALUE_LIMIT = 3.0
# The soft target, the weight and the factor of the derivatives are rounded once each.
ELEMENT_LIMIT = 8.0

REDUCTIONS: tuple[Reduction, ...] = ("none", "sum", "mean", "weighted_mean")
REDUCTIONS_AND_AXES = [
    ("none", None),
    *((reduction, axis) for reduction in REDUCTIONS[1:] for axis in (None, 0, 1)),
]
DERIVATIVES: dict[str, Callable[..., Any]] = {
    "grad": logitloss.bce_with_logits_grad,
    "value_and_grad": logitloss.bce_with_logits_value_and_grad,
    "grad_hess": logitloss.bce_with_logits_grad_hess,
}
BAD_TARGETS = [
    (np.uint8, 7),
    (np.uint8, 255),
    (np.int8, -1),
    (np.int32, 2),
    (np.int64, -(2**40)),
    (np.uint64, 2**63),
    (np.float16, 1.5),
    (ml_dtypes.bfloat16, -0.25),
    (np.float32, 1.0 + 2.0**-23),
    (np.float32, -1e-38),
    (np.float32, math.inf),
    (np.float32, math.nan),
    (np.float64, 1.0 + 2.0**-52),
    (np.float64, -5e-324),
    (np.float64, -math.inf),
    (np.float64, math.nan),
]

dtypes = pytest.mark.parametrize("dtype", LOGIT_DTYPES, ids=dtype_name)
small_dtypes = pytest.mark.parametrize("dtype", LOGIT_DTYPES[:3], ids=dtype_name)
reductions = pytest.mark.parametrize("reduction", REDUCTIONS)
derivatives = pytest.mark.parametrize("name", DERIVATIVES)


def inputs(dtype: Any, seed: int = 61) -> tuple[Array, Array]:
    """Return logits of ordinary size and soft targets."""
    logits = 6 * np.random.default_rng(seed).standard_normal(SHAPE)
    return logits.astype(dtype), soft_targets(np.float32, logits.size).reshape(SHAPE)


def spread(shape: tuple[int, ...], seed: int = 62) -> Array:
    """Return numbers of both ends and of the middle, in random order."""
    rng = np.random.default_rng(seed)
    ends = np.array([1e-30, 3e-25, 1e-19, 0.5, 1.0, 7.0, 1e19, 3e25, 1e30])
    return rng.choice(ends, shape) * rng.uniform(0.5, 1.0, shape)


def derivative_error(grad: Array, hess: Array, expected: oracle.Answer) -> float:
    """Return the largest error of gradient and hessian in units of their terms."""
    terms = oracle.term_scale(expected.grad_terms, expected.total, grad.dtype)
    lowest = oracle.term_scale(0 * expected.total, expected.total, grad.dtype)
    return max(
        oracle.worst(oracle.ulp_error(grad, expected.grad, grad.dtype, terms)),
        oracle.worst(oracle.ulp_error(hess, expected.hess, grad.dtype, lowest)),
    )


@pytest.mark.parametrize(("reduction", "axis"), REDUCTIONS_AND_AXES)
@pytest.mark.parametrize("factor", [1e30, -1e30, 1e-30, 2.0**61, 2.0**-61, "array"])
@dtypes
def test_grad_output(dtype: np.dtype[Any], reduction: Reduction, factor: Any, axis: Axis) -> None:
    logits, targets = inputs(dtype)
    options: dict[str, Any] = {"reduction": reduction, "axis": axis}
    if factor == "array":
        shape = SHAPE if reduction == "none" else np.zeros(SHAPE).sum(axis=axis).shape
        factor = spread(shape)
    expected = oracle.answer(logits, targets, grad_output=factor, **options)
    grad, hess = logitloss.bce_with_logits_grad_hess(logits, targets, grad_output=factor, **options)
    assert derivative_error(grad, hess, expected) <= ELEMENT_LIMIT
    alone = logitloss.bce_with_logits_grad(logits, targets, grad_output=factor, **options)
    assert same_bits(alone, grad)


@pytest.mark.parametrize("factor", [1e30, 1e-30, math.inf, math.nan])
@reductions
@dtypes
def test_grad_output_leaves_the_value_alone(
    dtype: np.dtype[Any], reduction: Reduction, factor: float
) -> None:
    logits, targets = inputs(dtype)
    value, _ = logitloss.bce_with_logits_value_and_grad(
        logits, targets, reduction=reduction, grad_output=factor
    )
    alone = logitloss.bce_with_logits(logits, targets, reduction=reduction)
    assert same_bits(value, alone)


@pytest.mark.parametrize("factor", [1e30, 1e-30])
@pytest.mark.parametrize(("target_dtype", "value"), BAD_TARGETS)
@small_dtypes
@derivatives
def test_a_bad_target_is_found_beside_any_grad_output(
    name: str, dtype: np.dtype[Any], target_dtype: Any, value: Any, factor: float
) -> None:
    logits = np.zeros(SHAPE, dtype)
    targets = hard_targets(target_dtype, logits.size).reshape(SHAPE)
    targets[1, 1234] = targets[2, 0] = value
    for reduction in REDUCTIONS:
        with pytest.raises(ValueError, match=r"targets\[1, 1234\]"):
            DERIVATIVES[name](logits, targets, reduction=reduction, grad_output=factor)


@pytest.mark.parametrize("option", ["weight", "pos_weight"])
@pytest.mark.parametrize("factor", [1e25, 1e-25, 1e30, 1e-30, "row", "column", "full"])
@dtypes
def test_weights(dtype: np.dtype[Any], factor: Any, option: str) -> None:
    logits, targets = inputs(dtype)
    shapes = {"row": SHAPE[1:], "column": (SHAPE[0], 1), "full": SHAPE}
    options: dict[str, Any] = {option: spread(shapes[factor]) if factor in shapes else factor}
    exact = oracle.answer(logits, targets, reduction="none", **options)
    lowest = oracle.term_scale(0 * exact.total, exact.total, dtype)
    loss = logitloss.bce_with_logits(logits, targets, reduction="none", **options)
    assert oracle.worst(oracle.ulp_error(loss, exact.value, dtype, lowest)) <= ELEMENT_LIMIT
    for reduction in REDUCTIONS:
        expected = oracle.answer(logits, targets, reduction=reduction, **options)
        grad, hess = logitloss.bce_with_logits_grad_hess(
            logits, targets, reduction=reduction, **options
        )
        assert derivative_error(grad, hess, expected) <= ELEMENT_LIMIT
        if reduction != "none":
            value = logitloss.bce_with_logits(logits, targets, reduction=reduction, **options)
            assert oracle.worst(oracle.value_error(value, expected, dtype)) <= VALUE_LIMIT


def hidden(targets: Array, how: str) -> tuple[Array, Array, dict[str, Any]]:
    """Return targets of which some are missing, which those are, and the option that says so."""
    missing = np.random.default_rng(63).random(SHAPE) < 0.3
    if how == "where":
        return targets, missing, {"where": ~missing}
    return np.where(missing, -1, np.round(targets)).astype(np.int8), missing, {"ignore_index": -1}


@pytest.mark.parametrize("factor", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("how", ["where", "ignore_index"])
@reductions
@dtypes
def test_a_missing_element_has_no_derivatives_whatever_grad_output_is(
    dtype: np.dtype[Any], reduction: Reduction, how: str, factor: float
) -> None:
    logits, targets = inputs(dtype)
    targets, missing, options = hidden(targets, how)
    shape = SHAPE if reduction == "none" else ()
    for grad_output in (factor, np.full(shape, factor), np.full(shape, factor, np.float32)):
        call: dict[str, Any] = {"reduction": reduction, "grad_output": grad_output, **options}
        grad, hess = logitloss.bce_with_logits_grad_hess(logits, targets, **call)
        alone = logitloss.bce_with_logits_grad(logits, targets, **call)
        beside = logitloss.bce_with_logits_value_and_grad(logits, targets, **call)[1]
        for result in (grad, hess, alone, beside):
            assert np.all(result[missing] == 0)
            assert not np.any(np.isfinite(result[~missing & (grad != 0)]))


@pytest.mark.parametrize("how", ["where", "ignore_index"])
@dtypes
def test_a_bad_factor_of_a_missing_element_spoils_no_other(dtype: np.dtype[Any], how: str) -> None:
    logits, targets = inputs(dtype)
    targets, missing, options = hidden(targets, how)
    options["reduction"] = "none"
    factors = np.where(missing, math.nan, 0.75)
    spoilt = logitloss.bce_with_logits_grad_hess(logits, targets, grad_output=factors, **options)
    plain = logitloss.bce_with_logits_grad_hess(logits, targets, grad_output=0.75, **options)
    for one, two in zip(spoilt, plain, strict=True):
        assert same_bits(one + np.asarray(0, dtype), two + np.asarray(0, dtype))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("reduction", ["sum", "mean", "weighted_mean"])
@dtypes
def test_a_bad_factor_of_a_group_leaves_its_missing_elements_at_zero(
    dtype: np.dtype[Any], reduction: Reduction, axis: int
) -> None:
    logits, targets = inputs(dtype)
    targets, missing, options = hidden(targets, "where")
    factors = np.ones(SHAPE[1 - axis])
    factors[::2] = math.inf
    grad, hess = logitloss.bce_with_logits_grad_hess(
        logits, targets, reduction=reduction, axis=axis, grad_output=factors, **options
    )
    assert np.all(grad[missing] == 0)
    assert np.all(hess[missing] == 0)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_an_empty_group_has_no_derivatives_whatever_grad_output_is(reduction: Reduction) -> None:
    grad, hess = logitloss.bce_with_logits_grad_hess(
        np.zeros(2000, np.float32),
        np.zeros(2000),
        where=False,
        reduction=reduction,
        grad_output=math.nan,
    )
    assert not np.any(grad)
    assert not np.any(hess)


@dtypes
def test_an_ignore_index_is_compared_exactly(dtype: np.dtype[Any]) -> None:
    """float32 holds 2**24 and not its successor, which is another label."""
    targets = np.tile(np.array([0, 2**24, 2**24 + 1, 1], np.int32), 700)
    logits = np.zeros(targets.shape, dtype)
    grad = logitloss.bce_with_logits_grad(
        logits, targets, ignore_index=2**24, validate=False, reduction="sum"
    )
    assert np.array_equal(grad == 0, targets == 2**24)
    with pytest.raises(ValueError, match=re.escape("targets[2] is 16777217")):
        logitloss.bce_with_logits_grad(logits, targets, ignore_index=2**24)
    targets[targets > 2**24] = 0
    logitloss.bce_with_logits_grad(logits, targets, ignore_index=2**24)


@pytest.mark.parametrize("factor", [3.0, 1e15, 1e25])
@pytest.mark.parametrize("option", ["weight", "pos_weight", "grad_output"])
def test_factors_beside_subnormal_exponentials(factor: float, option: str) -> None:
    """A factor above 1 would enlarge what float32 loses where exp(-a) is subnormal or 0."""
    size = np.linspace(80.0, 150.0, 3001)
    logits = np.concatenate([size, -size]).astype(np.float32)
    targets = (logits > 0).astype(np.int8)
    options: dict[str, Any] = {"reduction": "none", option: factor}
    scale = options.pop("grad_output", None)
    loss, grad = logitloss.bce_with_logits_value_and_grad(
        logits, targets, grad_output=scale, **options
    )
    expected = oracle.answer(logits, targets, grad_output=scale, **options)
    assert oracle.worst(oracle.ulp_error(loss, expected.value, np.float32)) <= 2
    assert oracle.worst(oracle.ulp_error(grad, expected.grad, np.float32)) <= 2


def test_an_element_does_not_depend_on_its_neighbours() -> None:
    logits, targets = inputs(np.float32)
    logits[0, :7] = [100.0, -100.0, 87.0, 88.0, 1e38, math.inf, -math.inf]
    weight = np.ones(SHAPE)
    weight[0, :3], weight[1, 5], weight[2, -1] = 1e15, 1e-40, 1e30
    weight[1, 100:200] = 2.0
    together = logitloss.bce_with_logits_value_and_grad(
        logits, targets, weight=weight, reduction="none"
    )
    for index in [(0, 0), (0, 2), (0, 3), (0, 10), (1, 5), (1, 6), (1, 150), (2, -2), (2, -1)]:
        alone = logitloss.bce_with_logits_value_and_grad(
            logits[index], targets[index], weight=weight[index], reduction="none"
        )
        for whole, element in zip(together, alone, strict=True):
            assert same_bits(whole[index], element)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("columns", [5, 700, 1024, 1500])
def test_a_repeated_row_of_weights_is_as_good_as_one_written_out(
    reduction: Reduction, columns: int
) -> None:
    rng = np.random.default_rng(63)
    logits = rng.normal(size=(3, columns)).astype(np.float32)
    targets = hard_targets(np.float32, logits.size).reshape(logits.shape)
    row = rng.random(columns)
    row[0] = 1e-20
    for weight in (row, row.astype(np.float32)):
        whole = np.ascontiguousarray(np.broadcast_to(weight, logits.shape))
        results = [
            logitloss.bce_with_logits_value_and_grad(
                logits, targets, weight=given, reduction=reduction
            )
            for given in (weight, whole)
        ]
        assert same_bits(results[0][0], results[1][0])
        assert same_bits(results[0][1], results[1][1])


def test_an_infinite_loss_stays_infinite_beside_a_target_out_of_range() -> None:
    logits, targets = np.zeros(4096, np.float32), np.zeros(4096, np.float32)
    logits[0], targets[2000] = math.inf, 2.0
    assert logitloss.bce_with_logits(logits, targets, reduction="sum", validate=False) == math.inf


@pytest.mark.parametrize("weight", [math.nan, math.inf, 1e-310])
@dtypes
def test_a_missing_element_has_no_gradient_whatever_the_weights_add_up_to(
    dtype: np.dtype[Any], weight: float
) -> None:
    grad = logitloss.bce_with_logits_grad(
        np.zeros(2, dtype),
        [0, 0],
        weight=[weight, 1],
        where=[True, False],
        reduction="weighted_mean",
    )
    assert grad[1] == 0


@dtypes
def test_an_infinite_weight_gives_an_infinite_gradient(dtype: np.dtype[Any]) -> None:
    logits, targets = np.ones(1, dtype), np.ones(1, dtype)
    grad = logitloss.bce_with_logits_grad(logits, targets, pos_weight=math.inf, reduction="none")
    assert grad[0] == -math.inf


def test_integer_weights_near_the_bound_do_not_make_neighbours_matter() -> None:
    logits = np.random.default_rng(64).normal(size=5000).astype(np.float32)
    targets = hard_targets(np.float32, logits.size)
    weight = np.full(logits.size, 2**30 + 31)
    before = logitloss.bce_with_logits(logits, targets, weight=weight, reduction="none")
    weight[5] = 2**31 - 1
    after = logitloss.bce_with_logits(logits, targets, weight=weight, reduction="none")
    assert np.flatnonzero(before != after).tolist() == [5]

"""Reduced values and the derivatives of reduced values."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import logitloss
import oracle
from arrays import (
    LOGIT_DTYPES,
    WIDE_LOGIT_DTYPES,
    dtype_name,
    hard_targets,
    same_bits,
    soft_targets,
    spread_logits,
)
from oracle import Array, Axis, Reduction

# A reduced value is as exact as one element, in epsilons of the logits' dtype.
VALUE_LIMIT = 2.0
# A derivative has its own rounding, the soft target's and that of the factor that scales it.
GRAD_LIMIT = 6.0

SHAPE = (3, 5, 7)
REDUCTIONS: tuple[Reduction, ...] = ("sum", "mean", "weighted_mean")
AXES: tuple[Axis, ...] = (None, 0, 1, -1, (0,), (0, 1), (-1, 0), (1, 2), (0, 1, 2), ())

dtypes = pytest.mark.parametrize("dtype", LOGIT_DTYPES, ids=dtype_name)
wide_dtypes = pytest.mark.parametrize("dtype", WIDE_LOGIT_DTYPES, ids=dtype_name)
reductions = pytest.mark.parametrize("reduction", REDUCTIONS)
axes = pytest.mark.parametrize("axis", AXES, ids=str)


def normal_logits(shape: tuple[int, ...], dtype: Any, seed: int = 3) -> Array:
    """Return logits of ordinary size: sums of them hide no element behind a giant."""
    return (8 * np.random.default_rng(seed).standard_normal(shape)).astype(dtype)


def inputs(dtype: Any) -> tuple[Array, Array]:
    """Return logits and soft targets of the usual shape."""
    logits = normal_logits(SHAPE, dtype)
    return logits, soft_targets(np.float32, logits.size).reshape(SHAPE)


def grad_error(grad: Array, expected: oracle.Answer) -> float:
    """Return the largest error of a gradient in units in the last place of its terms."""
    scale = oracle.term_scale(expected.grad_terms, expected.total, grad.dtype)
    return oracle.worst(oracle.ulp_error(grad, expected.grad, grad.dtype, scale))


@axes
@reductions
@dtypes
def test_value(dtype: np.dtype[Any], reduction: Reduction, axis: Axis) -> None:
    logits, targets = inputs(dtype)
    value = logitloss.bce_with_logits(logits, targets, reduction=reduction, axis=axis)
    expected = oracle.answer(logits, targets, reduction=reduction, axis=axis)
    assert np.shape(value) == expected.value.shape
    assert oracle.worst(oracle.value_error(value, expected, dtype)) <= VALUE_LIMIT


@axes
@reductions
@dtypes
def test_weighted_value_and_derivatives(
    dtype: np.dtype[Any], reduction: Reduction, axis: Axis
) -> None:
    logits, targets = inputs(dtype)
    rng = np.random.default_rng(8)
    options: dict[str, Any] = {
        "weight": rng.uniform(0.5, 2, SHAPE[1:]),
        "where": rng.random(SHAPE) < 0.8,
        "reduction": reduction,
        "axis": axis,
    }
    expected = oracle.answer(logits, targets, **options)
    with warnings.catch_warnings():
        # With axis=() each hidden element is a group of its own, and empty.
        warnings.simplefilter("ignore", RuntimeWarning)
        value, grad = logitloss.bce_with_logits_value_and_grad(logits, targets, **options)
    _, hess = logitloss.bce_with_logits_grad_hess(logits, targets, **options)
    assert oracle.worst(oracle.value_error(value, expected, dtype)) <= VALUE_LIMIT + 1
    assert grad_error(grad, expected) <= GRAD_LIMIT + 1
    scale = oracle.term_scale(abs(expected.hess), expected.total, dtype)
    assert oracle.worst(oracle.ulp_error(hess, expected.hess, dtype, scale)) <= GRAD_LIMIT + 1


@axes
@reductions
def test_result_types(reduction: Reduction, axis: Axis) -> None:
    logits, targets = inputs(np.float32)
    value = logitloss.bce_with_logits(logits, targets, reduction=reduction, axis=axis)
    if axis is None:
        assert type(value) is float
    else:
        assert np.asarray(value).dtype == np.float64


@reductions
def test_the_value_beside_the_gradient_is_the_value_alone(reduction: Reduction) -> None:
    logits, targets = inputs(np.float32)
    for axis in AXES:
        options: dict[str, Any] = {"reduction": reduction, "axis": axis}
        alone = logitloss.bce_with_logits(logits, targets, **options)
        value, _ = logitloss.bce_with_logits_value_and_grad(logits, targets, **options)
        assert same_bits(alone, value), axis


@axes
@reductions
def test_the_gradient_is_the_derivative_of_the_value(reduction: Reduction, axis: Axis) -> None:
    """A central difference of the package's own value, which knows nothing of the formulas."""
    rng = np.random.default_rng(4)
    logits, targets = rng.standard_normal(SHAPE), rng.random(SHAPE)
    options: dict[str, Any] = {
        "weight": rng.uniform(0.5, 2, SHAPE),
        "reduction": reduction,
        "axis": axis,
    }
    direction, step = rng.standard_normal(SHAPE), 1e-5

    def value_at(position: float) -> Any:
        moved = logits + position * direction
        return np.sum(logitloss.bce_with_logits(moved, targets, **options))

    slope = (value_at(step) - value_at(-step)) / (2 * step)
    grad = logitloss.bce_with_logits_grad(logits, targets, **options)
    assert np.sum(grad * direction) == pytest.approx(slope, rel=1e-7, abs=1e-9)


@axes
@reductions
def test_the_hessian_is_the_derivative_of_the_gradient(reduction: Reduction, axis: Axis) -> None:
    rng = np.random.default_rng(6)
    logits, targets = rng.standard_normal(SHAPE), rng.random(SHAPE)
    options: dict[str, Any] = {
        "weight": rng.uniform(0.5, 2, SHAPE),
        "reduction": reduction,
        "axis": axis,
    }
    step = 1e-5
    above = logitloss.bce_with_logits_grad(logits + step, targets, **options)
    below = logitloss.bce_with_logits_grad(logits - step, targets, **options)
    _, hess = logitloss.bce_with_logits_grad_hess(logits, targets, **options)
    np.testing.assert_allclose(hess, (above - below) / (2 * step), rtol=1e-6, atol=1e-9)


@axes
@reductions
@dtypes
def test_grad_output(dtype: np.dtype[Any], reduction: Reduction, axis: Axis) -> None:
    logits, targets = inputs(dtype)
    result_shape = np.shape(np.sum(np.zeros(SHAPE), axis=axis))
    array = np.random.default_rng(7).uniform(-2, 2, result_shape)
    for grad_output in (array, 3.0, -0.25, 2, np.float32(0.7)):
        options: dict[str, Any] = {
            "reduction": reduction,
            "axis": axis,
            "grad_output": grad_output,
        }
        expected = oracle.answer(logits, targets, **options)
        grad = logitloss.bce_with_logits_grad(logits, targets, **options)
        _, beside = logitloss.bce_with_logits_value_and_grad(logits, targets, **options)
        assert grad_error(grad, expected) <= GRAD_LIMIT
        assert same_bits(grad, beside)


@dtypes
def test_grad_output_of_elementwise_losses(dtype: np.dtype[Any]) -> None:
    logits, targets = inputs(dtype)
    for grad_output in (np.random.default_rng(7).uniform(-2, 2, SHAPE), -1.5):
        options: dict[str, Any] = {"reduction": "none", "grad_output": grad_output}
        expected = oracle.answer(logits, targets, **options)
        grad = logitloss.bce_with_logits_grad(logits, targets, **options)
        assert grad_error(grad, expected) <= GRAD_LIMIT


def test_grad_output_scales_the_hessian_likewise() -> None:
    logits, targets = inputs(np.dtype(np.float64))
    grad, hess = logitloss.bce_with_logits_grad_hess(logits, targets, reduction="sum")
    doubled = logitloss.bce_with_logits_grad_hess(
        logits, targets, reduction="sum", grad_output=np.float32(2.0)
    )
    assert np.array_equal(doubled[0], 2.0 * grad)
    assert np.array_equal(doubled[1], 2.0 * hess)


def test_grad_output_does_not_scale_the_value() -> None:
    logits, targets = inputs(np.float32)
    value, _ = logitloss.bce_with_logits_value_and_grad(logits, targets, grad_output=5.0)
    assert value == logitloss.bce_with_logits(logits, targets)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 4)], ids=str)
@dtypes
def test_empty_input(dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    logits, targets = np.empty(shape, dtype), np.empty(shape, np.uint8)
    assert logitloss.bce_with_logits(logits, targets, reduction="sum") == 0.0
    elementwise = logitloss.bce_with_logits(logits, targets, reduction="none")
    grad, hess = logitloss.bce_with_logits_grad_hess(logits, targets, reduction="sum")
    for result in (elementwise, grad, hess):
        assert result.shape == shape
        assert result.dtype == dtype


@pytest.mark.parametrize("reduction", ["mean", "weighted_mean"])
def test_the_mean_of_nothing_is_nan_with_a_warning(reduction: Reduction) -> None:
    with pytest.warns(RuntimeWarning) as wanted:
        np.mean([])
    with pytest.warns(RuntimeWarning, match=str(wanted[0].message)):
        value = logitloss.bce_with_logits([], [], reduction=reduction)
    assert math.isnan(value)


def test_the_mean_over_weights_that_sum_to_zero_says_so() -> None:
    logits, targets = np.zeros(3), np.zeros(3)
    options: dict[str, Any] = {"reduction": "weighted_mean", "weight": 0.0}
    with pytest.warns(RuntimeWarning, match=r"^Mean of weights that sum to zero\.$"):
        assert math.isnan(logitloss.bce_with_logits(logits, targets, **options))
    with pytest.warns(RuntimeWarning, match=r"^Mean of empty slice, or of weights that"):
        logitloss.bce_with_logits(logits, targets, where=False, **options)
    for reduction in ("mean", "weighted_mean"):
        with pytest.warns(RuntimeWarning, match=r"^Mean of empty slice\.$"):
            logitloss.bce_with_logits(logits, targets, where=False, reduction=reduction)
    with pytest.warns(RuntimeWarning, match=r"^Mean of empty slice\.$"):
        logitloss.bce_with_logits([], [], **options)


def test_a_warning_points_at_the_line_of_the_user() -> None:
    loss = logitloss.BCEWithLogitsLoss()
    for function in (logitloss.bce_with_logits, loss, loss.value_and_grad):
        with pytest.warns(RuntimeWarning) as caught:
            function([], [])
        assert [warning.filename for warning in caught] == [__file__]


@reductions
@dtypes
def test_fully_hidden_input(dtype: np.dtype[Any], reduction: Reduction) -> None:
    logits, targets = np.full(100, math.nan).astype(dtype), np.full(100, 7.0)
    options: dict[str, Any] = {"where": False, "reduction": reduction}
    if reduction == "sum":
        value, grad = logitloss.bce_with_logits_value_and_grad(logits, targets, **options)
        assert value == 0.0
    else:
        with pytest.warns(RuntimeWarning):
            value, grad = logitloss.bce_with_logits_value_and_grad(logits, targets, **options)
        assert math.isnan(value)
    assert not np.any(grad)


def test_hidden_rows_are_empty_means_of_their_own() -> None:
    logits = np.zeros((3, 4), np.float32)
    targets = np.zeros((3, 4), np.uint8)
    targets[1] = 255
    options: dict[str, Any] = {"ignore_index": 255, "axis": 1}
    with pytest.warns(RuntimeWarning):
        value, grad = logitloss.bce_with_logits_value_and_grad(logits, targets, **options)
    np.testing.assert_allclose(value, [math.log(2), math.nan, math.log(2)], rtol=1e-6)
    np.testing.assert_array_equal(grad, np.array([[0.125], [0], [0.125]]) * np.ones((1, 4)))


@pytest.mark.parametrize(("axis", "shape"), [(0, (3,)), (1, (0,)), ((0, 1), ())])
def test_reducing_a_dimension_of_no_length(axis: Axis, shape: tuple[int, ...]) -> None:
    logits, targets = np.empty((0, 3)), np.empty((0, 3))
    total = logitloss.bce_with_logits(logits, targets, reduction="sum", axis=axis)
    np.testing.assert_array_equal(total, np.zeros(shape))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mean = logitloss.bce_with_logits(logits, targets, axis=axis)
    np.testing.assert_array_equal(mean, np.full(shape, math.nan))
    assert bool(caught) == (np.size(mean) > 0)


def test_mean_counts_elements_and_weighted_mean_counts_weights() -> None:
    logits, targets = np.zeros(4), np.ones(4)
    weight = np.array([0, 0, 0, 4.0])
    assert logitloss.bce_with_logits(logits, targets, weight=weight) == math.log(2)
    assert logitloss.bce_with_logits(
        logits, targets, weight=2 * weight, reduction="weighted_mean"
    ) == math.log(2)


def test_the_count_leaves_out_what_does_not_exist() -> None:
    logits = np.zeros(6)
    targets = np.array([1, 0, -1, 1, -1, 0])
    where = np.array([True, True, True, False, True, False])
    value, grad = logitloss.bce_with_logits_value_and_grad(
        logits, targets, where=where, ignore_index=-1
    )
    assert value == math.log(2)
    np.testing.assert_array_equal(grad, [-0.25, 0.25, 0, 0, 0, 0])


@pytest.mark.parametrize("reduction", ["mean", "weighted_mean"])
def test_a_mean_of_huge_losses_does_not_overflow(reduction: Reduction) -> None:
    logits = np.full(5000, 1.7e308)
    value, grad = logitloss.bce_with_logits_value_and_grad(
        logits, np.zeros(5000), reduction=reduction
    )
    assert value == pytest.approx(1.7e308, rel=1e-15)
    assert np.all(grad == 1 / 5000)


def test_a_mean_over_an_axis_of_huge_losses_does_not_overflow() -> None:
    for axis in (0, 1):
        value = logitloss.bce_with_logits(np.full((70, 70), 1.7e308), np.zeros((70, 70)), axis=axis)
        np.testing.assert_allclose(value, 1.7e308, rtol=1e-15)


def test_a_sum_that_does_not_fit_is_infinite() -> None:
    logits = np.full(3, 1.7e308)
    assert logitloss.bce_with_logits(logits, np.zeros(3), reduction="sum") == math.inf


def test_huge_weights_of_float32_logits_do_not_overflow_the_value() -> None:
    """The product of weight and loss is far beyond float32 and well within the float64 result."""
    logits, targets = inputs(np.float32)
    for weight in (1e300, np.full(SHAPE, 1e300)):
        for reduction in REDUCTIONS:
            options: dict[str, Any] = {"weight": weight, "reduction": reduction}
            expected = oracle.answer(logits, targets, **options)
            value = logitloss.bce_with_logits(logits, targets, **options)
            assert math.isfinite(value)
            error = oracle.value_error(value, expected, np.float32)
            assert oracle.worst(error) <= VALUE_LIMIT + 1


def test_huge_losses_times_weights_do_not_overflow_the_value() -> None:
    logits, targets = np.full(1000, 3e38, np.float32), np.zeros(1000)
    value = logitloss.bce_with_logits(logits, targets, weight=np.full(1000, 100.0))
    assert value == pytest.approx(3e40, rel=2.0**-22)


def test_tiny_weights_of_float32_logits_do_not_vanish() -> None:
    """Every weight is below float32's subnormals, and their quotient is of ordinary size."""
    logits, targets = inputs(np.float32)
    for weight in (1e-60, np.full(SHAPE, 1e-60), np.float64(1e-300)):
        options: dict[str, Any] = {"weight": weight, "reduction": "weighted_mean"}
        expected = oracle.answer(logits, targets, **options)
        value, grad = logitloss.bce_with_logits_value_and_grad(logits, targets, **options)
        assert oracle.worst(oracle.value_error(value, expected, np.float32)) <= VALUE_LIMIT + 1
        assert grad_error(grad, expected) <= GRAD_LIMIT + 1


@pytest.mark.parametrize("dtype", LOGIT_DTYPES[:2], ids=dtype_name)
def test_sums_beyond_the_sixteen_bit_range(dtype: np.dtype[Any]) -> None:
    logits = np.zeros(200000, dtype)
    total = logitloss.bce_with_logits(logits, np.ones(200000, np.bool_), reduction="sum")
    assert total == pytest.approx(200000 * math.log(2), rel=2 * float(np.finfo(np.float32).eps))


@reductions
@wide_dtypes
def test_long_sums(dtype: np.dtype[Any], reduction: Reduction) -> None:
    logits = normal_logits((1_000_003,), dtype)
    targets = hard_targets(np.uint8, logits.size)
    expected = oracle.answer(logits, targets, reduction=reduction)
    value = logitloss.bce_with_logits(logits, targets, reduction=reduction)
    assert oracle.worst(oracle.value_error(value, expected, dtype)) <= VALUE_LIMIT


@pytest.mark.parametrize("tail", [-1.0, 1.0])
@wide_dtypes
def test_long_sums_of_a_single_small_loss(dtype: np.dtype[Any], tail: float) -> None:
    """A plain running sum would drift: after a million terms each of them is rounded away."""
    logits = np.full(1_000_003, tail * 7.3, dtype)
    targets = np.full(logits.size, tail > 0, np.bool_)
    expected = oracle.answer(logits[:1], targets[:1])
    value = logitloss.bce_with_logits(logits, targets)
    assert oracle.worst(oracle.value_error(value, expected, dtype)) <= VALUE_LIMIT


@wide_dtypes
def test_a_giant_does_not_swallow_the_rest(dtype: np.dtype[Any]) -> None:
    """One loss as large as all the others together leaves their sum exact enough."""
    logits = np.full(400_001, -3.0, dtype)
    logits[0] = 400_000 * math.log1p(math.exp(-3.0))
    targets = np.zeros(logits.size, np.uint8)
    expected = oracle.answer(logits, targets, reduction="sum")
    value = logitloss.bce_with_logits(logits, targets, reduction="sum")
    assert oracle.worst(oracle.value_error(value, expected, dtype)) <= VALUE_LIMIT


@pytest.mark.parametrize("axis", [0, 1, None])
@wide_dtypes
def test_sums_over_bit_patterns(dtype: np.dtype[Any], axis: Axis) -> None:
    logits = spread_logits(dtype, 70 * 130).reshape(70, 130)
    targets = hard_targets(np.uint8, logits.size).reshape(logits.shape)
    for reduction in REDUCTIONS:
        expected = oracle.answer(logits, targets, reduction=reduction, axis=axis)
        value = logitloss.bce_with_logits(logits, targets, reduction=reduction, axis=axis)
        assert oracle.worst(oracle.value_error(value, expected, dtype)) <= VALUE_LIMIT


@reductions
def test_out_receives_a_full_reduction(reduction: Reduction) -> None:
    logits, targets = inputs(np.float32)
    out = np.full((), math.nan)
    value = logitloss.bce_with_logits(logits, targets, reduction=reduction, out=out)
    assert value is out
    assert float(out) == logitloss.bce_with_logits(logits, targets, reduction=reduction)


@pytest.mark.parametrize("axis", [axis for axis in AXES if axis is not None], ids=str)
@reductions
def test_out_receives_a_reduction_over_an_axis(reduction: Reduction, axis: Axis) -> None:
    logits, targets = inputs(np.float32)
    options: dict[str, Any] = {"reduction": reduction, "axis": axis}
    expected = logitloss.bce_with_logits(logits, targets, **options)
    out = np.full(np.shape(expected), math.nan)
    assert logitloss.bce_with_logits(logits, targets, out=out, **options) is out
    assert same_bits(out, expected)


class Labelled(np.ndarray[Any, Any]):
    """A subclass of NumPy's array, as numpy.memmap is one."""


def test_out_of_a_subclass_is_returned_itself(tmp_path: Path) -> None:
    logits, targets = inputs(np.float32)
    expected_grad, expected_hess = logitloss.bce_with_logits_grad_hess(logits, targets)
    mapped = np.memmap(tmp_path / "gradient", np.float32, "w+", shape=SHAPE)
    assert logitloss.bce_with_logits_grad(logits, targets, out=mapped) is mapped
    assert same_bits(np.asarray(mapped), expected_grad)
    first, second = np.zeros_like(logits).view(Labelled), np.zeros_like(logits).view(Labelled)
    results = logitloss.bce_with_logits_grad_hess(logits, targets, out=(first, second))
    assert results[0] is first
    assert results[1] is second
    assert same_bits(np.asarray(second), expected_hess)
    value = np.zeros(()).view(Labelled)
    assert logitloss.bce_with_logits(logits, targets, out=value) is value
    in_place = logits.copy().view(Labelled)
    assert logitloss.bce_with_logits_grad(in_place, targets, out=in_place) is in_place
    assert same_bits(np.asarray(in_place), expected_grad)


def test_out_of_value_and_grad() -> None:
    """``out`` is the gradient's array, or a pair of which each part may be missing."""
    logits, targets = inputs(np.float32)
    expected_value, expected_grad = logitloss.bce_with_logits_value_and_grad(logits, targets)
    for pair in (False, True):
        value_out, grad_out = np.full((), math.nan), np.full(SHAPE, math.nan, np.float32)
        out: Any = (value_out, grad_out) if pair else grad_out
        value, grad = logitloss.bce_with_logits_value_and_grad(logits, targets, out=out)
        assert grad is grad_out
        assert (value is value_out) == pair
        assert float(value) == expected_value
        assert same_bits(grad, expected_grad)
    value_out = np.full((), math.nan)
    value, grad = logitloss.bce_with_logits_value_and_grad(logits, targets, out=(value_out, None))
    assert value is value_out
    assert same_bits(grad, expected_grad)


def test_out_of_grad_hess() -> None:
    logits, targets = inputs(np.float64)
    expected = logitloss.bce_with_logits_grad_hess(logits, targets)
    for chosen in ((True, True), (True, False), (False, True), (False, False)):
        out: Any = tuple(np.full(SHAPE, math.nan) if given else None for given in chosen)
        results = logitloss.bce_with_logits_grad_hess(logits, targets, out=out)
        for result, wanted, given in zip(results, expected, out, strict=True):
            assert same_bits(result, wanted)
            assert given is None or result is given

"""Each element's loss, gradient and hessian against the oracle, for every dtype."""

from __future__ import annotations

from array import array
from typing import Any

import ml_dtypes
import mpmath
import numpy as np
import pytest

import logitloss
import oracle
from arrays import (
    INT_DTYPES,
    LOGIT_DTYPES,
    TARGET_DTYPES,
    WIDE_LOGIT_DTYPES,
    all_patterns,
    dtype_name,
    hard_targets,
    is_float,
    same_bits,
    soft_targets,
    spread_logits,
)
from oracle import Array

# The largest error that is allowed with hard labels, in units in the last place.
HARD_LIMIT = 4.0
# A soft target is rounded to the compute type, and so is its complement.
SOFT_LIMIT = HARD_LIMIT + 1.0

logit_dtypes = pytest.mark.parametrize("dtype", LOGIT_DTYPES, ids=dtype_name)
wide_logit_dtypes = pytest.mark.parametrize("dtype", WIDE_LOGIT_DTYPES, ids=dtype_name)
small_logit_dtypes = pytest.mark.parametrize("dtype", LOGIT_DTYPES[:2], ids=dtype_name)
target_dtypes = pytest.mark.parametrize("target_dtype", TARGET_DTYPES, ids=dtype_name)
soft_dtypes = pytest.mark.parametrize(
    "target_dtype", [dtype for dtype in TARGET_DTYPES if is_float(dtype)], ids=dtype_name
)
quantities = pytest.mark.parametrize("quantity", ["loss", "grad", "hess"])


def computed(logits: Array, targets: Array, **options: Any) -> dict[str, Array]:
    """Return the three elementwise results by name."""
    grad, hess = logitloss.bce_with_logits_grad_hess(logits, targets, reduction="none", **options)
    loss = logitloss.bce_with_logits(logits, targets, reduction="none", **options)
    return {"loss": loss, "grad": grad, "hess": hess}


def errors(quantity: str, logits: Array, targets: Array) -> Any:
    """Return the errors of one quantity in units in the last place of its terms."""
    exact = oracle.elements(logits, targets)
    scale = oracle.term_scale(exact.grad_terms, exact.total, logits.dtype)
    return oracle.ulp_error(
        computed(logits, targets)[quantity],
        getattr(exact, quantity),
        logits.dtype,
        scale if quantity == "grad" else None,
    )


def test_the_two_arithmetics_of_the_oracle_agree() -> None:
    if not oracle.LONGDOUBLE_IS_WIDE:
        pytest.skip("numpy.longdouble is no wider than float64 here")
    logits = spread_logits(np.float64, 600)
    targets = soft_targets(np.float64, 600)
    one = oracle.elements(logits, targets, pos_weight=1.7, arithmetic=oracle.LONGDOUBLE)
    two = oracle.elements(logits, targets, pos_weight=1.7, arithmetic=oracle.MPMATH)
    for name in ("loss", "grad", "hess"):
        near = getattr(one, name).astype(np.float64)
        first = oracle.ulp_error(near, getattr(one, name), np.float64, one.grad_terms)
        second = oracle.ulp_error(
            near, getattr(two, name), np.float64, two.grad_terms, oracle.MPMATH
        )
        assert np.max(first) <= 0.5
        assert np.max(np.abs(first - second)) < 0.01


def test_the_oracle_agrees_with_the_definition() -> None:
    """With enough digits the forms of textbooks survive their cancellation."""
    context = mpmath.MPContext()
    context.prec = 4000
    for x in (0.0, -1.5, 1.5, 17.0, -17.0, 40.0, -88.5, 700.0, -700.0):
        for y in (0.0, 0.25, 1.0):
            exponential = context.exp(context.mpf(x))
            sigmoid = exponential / (1 + exponential)
            loss = context.log(1 + exponential) - y * context.mpf(x)
            exact = oracle.elements(x, y, arithmetic=oracle.MPMATH)
            assert abs(exact.loss.item() - loss) <= abs(loss) * 2.0**-190
            assert abs(exact.grad.item() - (sigmoid - y)) <= 2.0**-190
            hess = sigmoid * (1 - sigmoid)
            assert abs(exact.hess.item() - hess) <= abs(hess) * 2.0**-190


@quantities
@pytest.mark.parametrize("label", [0, 1])
@wide_logit_dtypes
def test_hard_labels(dtype: np.dtype[Any], label: int, quantity: str) -> None:
    logits = spread_logits(dtype, 60000, seed=label)
    targets = np.full(logits.shape, label, np.uint8)
    assert oracle.worst(errors(quantity, logits, targets)) <= HARD_LIMIT


@quantities
@wide_logit_dtypes
def test_hard_labels_in_both_tails(dtype: np.dtype[Any], quantity: str) -> None:
    """Down to the subnormals nothing is flushed to zero, and the results are as exact as there."""
    end = 104.0 if dtype == np.float32 else 746.0
    logits = np.concatenate([side * np.linspace(0.8 * end, end, 5001) for side in (-1.0, 1.0)])
    logits = logits.astype(dtype)
    targets = (logits > 0).astype(dtype)
    result = computed(logits, targets)[quantity]
    tiny = np.abs(result) < np.finfo(dtype).tiny
    assert np.count_nonzero(tiny & (result != 0)) > 100
    assert oracle.worst(errors(quantity, logits, targets)) <= HARD_LIMIT


@quantities
@wide_logit_dtypes
def test_hard_labels_near_the_middle(dtype: np.dtype[Any], quantity: str) -> None:
    """Every binade from 2**-12 to 2**7 is sampled evenly, where loss and gradient bend most."""
    rng = np.random.default_rng(5)
    logits = (np.exp2(rng.uniform(-12, 7, 60000)) * rng.choice([-1, 1], 60000)).astype(dtype)
    targets = hard_targets(dtype, logits.size)
    assert oracle.worst(errors(quantity, logits, targets)) <= HARD_LIMIT


@quantities
@soft_dtypes
@logit_dtypes
def test_soft_labels(dtype: np.dtype[Any], target_dtype: np.dtype[Any], quantity: str) -> None:
    logits = spread_logits(dtype, 20000)
    targets = soft_targets(target_dtype, logits.size)
    assert oracle.worst(errors(quantity, logits, targets)) <= SOFT_LIMIT


@pytest.mark.parametrize("gap", [2.0**-53, 2.0**-40, 2.0**-26])
def test_the_complement_of_a_float64_target_is_not_lost(gap: float) -> None:
    """With float32 logits 1 - y is formed before y is rounded, so a gap of 2**-53 still counts."""
    logits = np.array([200.0, 150.0, 1e30, 3e38], dtype=np.float32)
    targets = np.full(logits.shape, 1.0 - gap)
    result = computed(logits, targets)
    assert np.all(result["grad"] == np.float32(gap))
    assert oracle.worst(errors("loss", logits, targets)) <= SOFT_LIMIT


@target_dtypes
@logit_dtypes
def test_every_target_dtype_gives_the_same_bits(
    dtype: np.dtype[Any], target_dtype: np.dtype[Any]
) -> None:
    logits = spread_logits(dtype, 5000)
    labels = hard_targets(np.bool_, logits.size)
    expected = computed(logits, labels)
    actual = computed(logits, labels.astype(target_dtype))
    for name, result in expected.items():
        assert same_bits(actual[name], result), name


@quantities
@pytest.mark.parametrize("label", [0, 1])
@small_logit_dtypes
def test_sixteen_bit_results_are_float32_results_rounded_once(
    dtype: np.dtype[Any], label: int, quantity: str
) -> None:
    logits = all_patterns(dtype)
    targets = np.full(logits.shape, label, np.uint8)
    single = computed(logits.astype(np.float32), targets)[quantity]
    # A NaN or an overflow to infinity is what rounding has to give here.
    with np.errstate(all="ignore"):
        expected = single.astype(dtype)
    assert same_bits(computed(logits, targets)[quantity], expected)


@small_logit_dtypes
def test_sixteen_bit_results_with_options_are_rounded_once(dtype: np.dtype[Any]) -> None:
    logits = spread_logits(dtype, 20000)
    targets = soft_targets(np.float32, logits.size)
    options = {"weight": 1.7, "pos_weight": 0.3, "label_smoothing": 0.1}
    expected = computed(logits.astype(np.float32), targets, **options)
    for name, result in computed(logits, targets, **options).items():
        with np.errstate(over="ignore"):
            assert same_bits(result, expected[name].astype(dtype)), name


@small_logit_dtypes
def test_a_scaled_sixteen_bit_gradient_is_rounded_once(dtype: np.dtype[Any]) -> None:
    logits = spread_logits(dtype, 999)
    targets = hard_targets(np.uint8, logits.size)
    expected = logitloss.bce_with_logits_grad(logits.astype(np.float32), targets)
    assert same_bits(logitloss.bce_with_logits_grad(logits, targets), expected.astype(dtype))


@logit_dtypes
def test_labels_are_symmetric_bit_for_bit(dtype: np.dtype[Any]) -> None:
    logits = spread_logits(dtype, 40000)
    ones, zeros = np.ones(logits.size, np.uint8), np.zeros(logits.size, np.uint8)
    positive, negative = computed(logits, ones), computed(-logits, zeros)
    assert same_bits(positive["loss"], negative["loss"])
    assert same_bits(positive["grad"], -negative["grad"])
    assert same_bits(positive["hess"], negative["hess"])


@logit_dtypes
def test_each_function_computes_the_same_bits(dtype: np.dtype[Any]) -> None:
    """The loss is the same alone and beside its gradient, the gradient in all three functions."""
    logits = spread_logits(dtype, 20000)
    targets = soft_targets(dtype, logits.size)
    loss = logitloss.bce_with_logits(logits, targets, reduction="none")
    alone = logitloss.bce_with_logits_grad(logits, targets, reduction="none")
    value, grad = logitloss.bce_with_logits_value_and_grad(logits, targets, reduction="none")
    with_hess, _ = logitloss.bce_with_logits_grad_hess(logits, targets, reduction="none")
    assert same_bits(loss, value)
    assert same_bits(alone, grad)
    assert same_bits(alone, with_hess)


@pytest.mark.parametrize("dtype", INT_DTYPES, ids=dtype_name)
def test_integer_logits_are_taken_as_float64(dtype: np.dtype[Any]) -> None:
    logits = np.arange(100).astype(dtype)
    targets = hard_targets(np.uint8, logits.size)
    expected = computed(logits.astype(np.float64), targets)
    for name, result in computed(logits, targets).items():
        assert same_bits(result, expected[name]), name


def test_lists_are_taken_as_float64() -> None:
    logits: Any = [[0.5, -2], [3, 4.0]]
    targets: Any = [[0, 1], [1.0, 0.5]]
    nested = logitloss.bce_with_logits_grad(logits, targets)
    expected = logitloss.bce_with_logits_grad(
        np.array([[0.5, -2.0], [3.0, 4.0]]), np.array([[0.0, 1.0], [1.0, 0.5]])
    )
    assert nested.dtype == np.float64
    assert same_bits(nested, expected)


@pytest.mark.parametrize(
    "values",
    [
        [np.float16(0.5), np.float16(-2)],
        (np.float32(0.5), np.float32(-2)),
        [ml_dtypes.bfloat16(0.5), ml_dtypes.bfloat16(-2)],
        [np.array(0.5, np.float32), -2],
    ],
    ids=["float16", "tuple of float32", "bfloat16", "mixed"],
)
def test_lists_of_small_floats_are_taken_as_float64(values: Any) -> None:
    grad = logitloss.bce_with_logits_grad(values, values, validate=False)
    expected = logitloss.bce_with_logits_grad(
        np.array([0.5, -2.0]), np.array([0.5, -2.0]), validate=False
    )
    assert same_bits(grad, expected)


class ArrayInterface:
    """An array-like that has only a description of its memory."""

    def __init__(self, values: Array) -> None:
        self._values = values
        self.__array_interface__ = values.__array_interface__


@pytest.mark.parametrize("wrapped", [memoryview, lambda values: array("f", values), ArrayInterface])
def test_buffers_keep_their_dtype(wrapped: Any) -> None:
    logits = np.array([0.5, -2.0], np.float32)
    grad = logitloss.bce_with_logits_grad(wrapped(logits), [0, 1])
    assert same_bits(grad, logitloss.bce_with_logits_grad(logits, [0, 1]))


@pytest.mark.parametrize("scalar", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16])
def test_scalars_of_numpy_keep_their_dtype(scalar: Any) -> None:
    grad = logitloss.bce_with_logits_grad(scalar(0.5), 1)
    assert grad.dtype == np.dtype(scalar)
    assert grad.shape == ()


def test_scalars_are_taken_as_float64() -> None:
    loss = logitloss.bce_with_logits(0.0, 1)
    element = logitloss.bce_with_logits(0.0, 1, reduction="none")
    assert isinstance(loss, float)
    assert isinstance(element, np.ndarray)
    assert element.shape == ()
    assert element.dtype == np.float64
    assert loss == float(element) == float(np.log(2.0))


@logit_dtypes
def test_results_have_the_shape_and_dtype_of_the_logits(dtype: np.dtype[Any]) -> None:
    logits = np.zeros((2, 3), dtype)
    targets = np.ones((2, 3), np.float64)
    loss = logitloss.bce_with_logits(logits, targets, reduction="none")
    grad, hess = logitloss.bce_with_logits_grad_hess(logits, targets)
    for result in (loss, grad, hess):
        assert isinstance(result, np.ndarray)
        assert result.shape == (2, 3)
        assert result.dtype == dtype

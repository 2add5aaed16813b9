"""Random calls over dtype, shape, layout, option, reduction and axis, against the oracle.

Each call is made a second time with C-contiguous copies of its arrays and one thread, which has
to give the same bits.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import event, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import logitloss
import oracle
from arrays import (
    LAYOUTS,
    LOGIT_DTYPES,
    NUMERIC_DTYPES,
    TARGET_DTYPES,
    hard_targets,
    is_float,
    lay_out,
    repeated,
    same_bits,
    soft_targets,
    spread_logits,
)
from oracle import Array

REDUCTIONS: tuple[oracle.Reduction, ...] = ("none", "sum", "mean", "weighted_mean")


def described(value: Any) -> str:
    """Return how an array lies in memory; its numbers would fill pages."""
    if not isinstance(value, np.ndarray):
        return repr(value)
    return f"<{value.dtype} {value.shape} strides {value.strides}>"


@dataclass(frozen=True, repr=False)
class Case:
    """One call: its arrays, its options and how often an option may round."""

    logits: Array
    targets: Array
    options: dict[str, Any] = field(default_factory=dict)
    grad_output: Any = None
    num_threads: int | None = None

    def __repr__(self) -> str:
        """Return a call without the numbers, which the seed of the example gives again."""
        options = {"grad_output": self.grad_output, "num_threads": self.num_threads}
        named = (f"{name}={described(v)}" for name, v in (self.options | options).items())
        return f"Case({described(self.logits)}, {described(self.targets)}, {', '.join(named)})"

    @property
    def slack(self) -> int:
        """Return the units that the options and a soft target may add to an element's error."""
        rounding = ("weight", "pos_weight", "label_smoothing")
        return is_float(self.targets.dtype) + sum(name in self.options for name in rounding)

    def answer(self) -> oracle.Answer:
        """Return what the oracle says, for a gradient scaled by the case's grad_output."""
        known = {name: value for name, value in self.options.items() if name != "validate"}
        return oracle.answer(self.logits, self.targets, grad_output=self.grad_output, **known)

    def copied(self) -> Case:
        """Return the same call on C-contiguous copies with one thread."""

        def copy(value: Any) -> Any:
            return np.array(value, order="C") if isinstance(value, np.ndarray) else value

        options = {name: copy(value) for name, value in self.options.items()}
        return Case(copy(self.logits), copy(self.targets), options, copy(self.grad_output), 1)


@st.composite
def shapes(draw: st.DrawFn) -> tuple[int, ...]:
    """Draw mostly small shapes of 0 to 5 dimensions, and some beyond a tile or a block."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.sampled_from([(1023,), (4097,), (3, 1400), (2, 5, 513), (700, 7), (20000,)]))
    return draw(hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=6))


@st.composite
def laid_out(draw: st.DrawFn, values: Array) -> Array:
    """Draw a layout; one of them repeats the first entry and so changes the values."""
    layout = draw(st.sampled_from([*LAYOUTS, "repeated"]))
    return repeated(values) if layout == "repeated" else lay_out(values, layout)


@st.composite
def broadcastable(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Draw a shape that broadcasts to the given one without enlarging it."""
    kept = shape[draw(st.integers(0, len(shape))) :]
    return tuple(draw(st.sampled_from([n, 1])) for n in kept)


@st.composite
def axes(draw: st.DrawFn, ndim: int) -> oracle.Axis:
    """Draw None, an int or a tuple of ints, of either sign."""
    if ndim == 0:
        return draw(st.sampled_from([None, ()]))
    one = st.integers(-ndim, ndim - 1)
    several = st.lists(one, unique_by=lambda axis: axis % ndim, max_size=ndim).map(tuple)
    return draw(st.none() | one | several)


@st.composite
def weights(draw: st.DrawFn, shape: tuple[int, ...], seed: int, zeros: bool) -> Any:
    """Draw a scalar or an array of moderate weights of any numeric dtype."""
    if draw(st.booleans()):
        return draw(st.floats(2.0**-8, 2.0**8) | st.integers(1, 100))
    dtype = draw(st.sampled_from(NUMERIC_DTYPES))
    rng = np.random.default_rng(seed)
    size = draw(broadcastable(shape))
    drawn = rng.uniform(0.1, 4, size) if is_float(dtype) else rng.integers(1, 9, size)
    kept = rng.random(size) < 0.9 if zeros else True
    return draw(laid_out(np.asarray(drawn * kept).astype(dtype)))


@st.composite
def options_for(
    draw: st.DrawFn, shape: tuple[int, ...], target_dtype: np.dtype[Any], seed: int
) -> dict[str, Any]:
    """Draw a value for some of the options."""
    options: dict[str, Any] = {"reduction": draw(st.sampled_from(REDUCTIONS))}
    if options["reduction"] != "none":
        options["axis"] = draw(axes(len(shape)))
    if draw(st.booleans()):
        # The weighted mean over weights that are all 0 has no value that could be compared.
        zeros = options["reduction"] != "weighted_mean"
        options["weight"] = draw(weights(shape, seed, zeros))
    if draw(st.booleans()):
        options["pos_weight"] = draw(weights(shape, seed + 1, zeros=True))
    if draw(st.booleans()):
        options["label_smoothing"] = draw(st.sampled_from([1e-3, 0.1, 0.25, 0.5, 0.9]))
    if draw(st.booleans()):
        where = np.random.default_rng(seed + 2).random(draw(broadcastable(shape))) < 0.7
        options["where"] = draw(laid_out(np.asarray(where)))
    if draw(st.booleans()):
        options["ignore_index"] = draw(st.sampled_from(_missing_values(target_dtype)))
    if draw(st.booleans()):
        options["validate"] = draw(st.booleans())
    return options


def _missing_values(target_dtype: np.dtype[Any]) -> list[float]:
    if is_float(target_dtype):
        return [-1, 255, math.nan, 0.5, 0]
    if target_dtype == np.bool_:
        return [0, 1, -1]
    limits = np.iinfo(target_dtype)
    return [value for value in (-1, 255, 100, 0, 1) if limits.min <= value <= limits.max]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw a call. The numbers come from a seed, so that an example is small to describe."""
    dtype = draw(st.sampled_from(LOGIT_DTYPES))
    target_dtype = draw(st.sampled_from(TARGET_DTYPES))
    shape = draw(shapes())
    seed = draw(st.integers(0, 2**32 - 4))
    options = draw(options_for(shape, target_dtype, seed))
    rng = np.random.default_rng(seed)
    size = math.prod(shape)

    logits = rng.permutation(spread_logits(dtype, size + 40, seed))[:size]
    logits[rng.random(size) < draw(st.sampled_from([0, 0.02]))] = math.inf
    soft = is_float(target_dtype) and draw(st.booleans())
    targets = (soft_targets if soft else hard_targets)(target_dtype, size, seed)
    if "ignore_index" in options:
        targets[rng.random(size) < 0.2] = options["ignore_index"]
    event(f"reduction={options['reduction']}")
    return Case(
        draw(laid_out(logits.reshape(shape))),
        draw(laid_out(targets.reshape(shape))),
        options,
        draw(grad_outputs(shape, options, seed)),
        draw(st.sampled_from([None, 1, 2, 3])),
    )


@st.composite
def grad_outputs(
    draw: st.DrawFn, shape: tuple[int, ...], options: dict[str, Any], seed: int
) -> Any:
    """Draw nothing, a number, or an array of the result's shape."""
    result_shape = shape
    if options["reduction"] != "none":
        result_shape = np.shape(np.sum(np.zeros(shape), axis=options["axis"]))
    array = np.random.default_rng(seed + 3).uniform(-2, 2, result_shape)
    return draw(st.sampled_from([None, 1.0, -0.3, 2, array, array.astype(np.float32)]))


def called(name: str, case: Case, *, with_grad_output: bool = False) -> tuple[Array, ...]:
    """Return the results of one function as arrays; the mean of nothing may warn."""
    extra = {"grad_output": case.grad_output} if with_grad_output else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        results = getattr(logitloss, name)(
            case.logits, case.targets, num_threads=case.num_threads, **extra, **case.options
        )
    return tuple(map(np.asarray, results if isinstance(results, tuple) else (results,)))


def value_is_right(value: Array, case: Case, expected: oracle.Answer) -> bool:
    """Tell whether a value, reduced or not, has the right shape, dtype and size."""
    elementwise = case.options["reduction"] == "none"
    dtype = case.logits.dtype
    if value.dtype != (dtype if elementwise else np.float64):
        return False
    if elementwise:
        scale = oracle.term_scale(0 * expected.total, expected.total, dtype)
        error = oracle.ulp_error(value, expected.value, dtype, scale)
        return oracle.worst(error) <= 4 + case.slack
    return oracle.worst(oracle.value_error(value, expected, dtype)) <= 2 + case.slack


def derivative_is_right(derivative: Array, exact: Array, case: Case, scale: Array) -> bool:
    """Tell whether a gradient or a hessian has the right shape, dtype and values."""
    if derivative.dtype != case.logits.dtype:
        return False
    error = oracle.ulp_error(derivative, exact, derivative.dtype, scale)
    return oracle.worst(error) <= 5 + case.slack


def grad_is_right(grad: Array, case: Case, expected: oracle.Answer) -> bool:
    """Tell whether a gradient is right, relative to its two terms."""
    scale = oracle.term_scale(expected.grad_terms, expected.total, grad.dtype)
    return derivative_is_right(grad, expected.grad, case, scale)


@given(case=cases())
def test_loss(case: Case) -> None:
    (value,) = called("bce_with_logits", case)
    assert value_is_right(value, case, case.answer())
    assert same_bits(value, called("bce_with_logits", case.copied())[0])


@given(case=cases())
def test_grad(case: Case) -> None:
    (grad,) = called("bce_with_logits_grad", case, with_grad_output=True)
    assert grad_is_right(grad, case, case.answer())
    (again,) = called("bce_with_logits_grad", case.copied(), with_grad_output=True)
    assert same_bits(grad, again)


@given(case=cases())
def test_value_and_grad(case: Case) -> None:
    name, expected = "bce_with_logits_value_and_grad", case.answer()
    value, grad = called(name, case, with_grad_output=True)
    assert value_is_right(value, case, expected)
    assert grad_is_right(grad, case, expected)
    value_again, grad_again = called(name, case.copied(), with_grad_output=True)
    assert same_bits(value, value_again)
    assert same_bits(grad, grad_again)


@given(case=cases())
def test_grad_hess(case: Case) -> None:
    case = Case(case.logits, case.targets, case.options, None, case.num_threads)
    expected = case.answer()
    grad, hess = called("bce_with_logits_grad_hess", case)
    assert grad_is_right(grad, case, expected)
    scale = oracle.term_scale(0 * expected.total, expected.total, hess.dtype)
    assert derivative_is_right(hess, expected.hess, case, scale)
    grad_again, hess_again = called("bce_with_logits_grad_hess", case.copied())
    assert same_bits(grad, grad_again)
    assert same_bits(hess, hess_again)


@given(case=cases())
def test_the_warning_of_an_empty_mean(case: Case) -> None:
    """A warning comes exactly where numpy.mean would divide by a count of 0."""
    expected = case.answer()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        logitloss.bce_with_logits(case.logits, case.targets, **case.options)
    empty = case.options["reduction"].endswith("mean") and bool(np.any(expected.count == 0))
    assert [warning.category for warning in caught] == [RuntimeWarning] * empty

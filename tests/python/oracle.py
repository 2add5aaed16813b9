"""The higher-precision reference that every number in the tests and benchmarks is held against.

It shares no code with the package. Each element is the logit x and two weights, wneg for the part
with softplus(x) and wpos for the part with softplus(-x). With a = |x|, e = exp(-a), t = e/(1+e),
W = wneg + wpos and m = wneg where x >= 0, else wpos:

    loss     = a*m + W*log1p(e)      (a*m is 0 where m is 0, also at a = inf)
    gradient = sign(x) * (m - W*t)
    hessian  = W*t*(1 - t)

The numbers are ``numpy.longdouble`` where that is wider than float64, else mpmath's. Arrays of
either kind are called wide below.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import ml_dtypes
import mpmath
import numpy as np
from numpy.typing import ArrayLike, NDArray

Array: TypeAlias = NDArray[Any]
Reduction: TypeAlias = Literal["none", "sum", "mean", "weighted_mean"]
Axis: TypeAlias = int | tuple[int, ...] | None


@dataclass(frozen=True)
class Format:
    """A binary floating-point format: stored fraction bits and the range of normal exponents."""

    fraction_bits: int
    min_exponent: int
    max_exponent: int


FORMATS: Final = {
    np.dtype(np.float16): Format(10, -14, 15),
    np.dtype(ml_dtypes.bfloat16): Format(7, -126, 127),
    np.dtype(np.float32): Format(23, -126, 127),
    np.dtype(np.float64): Format(52, -1022, 1023),
}


@dataclass(frozen=True)
class Arithmetic:
    """A number type wider than float64: the way in and the functions that the formulas need."""

    widen: Callable[[ArrayLike], Array]
    exp: Callable[[Array], Array]
    log1p: Callable[[Array], Array]
    exponent: Callable[[Array], Array]
    power_of_two: Callable[[Array], Array]


def _plain(values: ArrayLike) -> Array:
    """Return the values in a dtype of NumPy's own that holds each of them exactly."""
    array = np.asarray(values)
    if array.dtype == np.dtype(ml_dtypes.bfloat16):
        return array.astype(np.float32)
    return array.astype(np.int8) if array.dtype == np.dtype(np.bool_) else array


def _within_int32(exponent: int) -> int:
    """Bound the exponents of mpmath, which have no bound of their own."""
    return max(min(exponent, 2**31 - 1), -(2**31))


def _longdouble_arithmetic() -> Arithmetic:
    one = np.longdouble(1)
    return Arithmetic(
        widen=lambda values: _plain(values).astype(np.longdouble),
        exp=np.exp,
        log1p=np.log1p,
        exponent=lambda wide: np.frexp(wide)[1].astype(np.int64) - 1,
        power_of_two=lambda powers: np.asarray(np.ldexp(one, powers.astype(np.int32))),
    )


def _mpmath_arithmetic() -> Arithmetic:
    context = mpmath.MPContext()
    context.prec = 200

    def each(function: Callable[[Any], Any], dtype: Any = object) -> Callable[[ArrayLike], Array]:
        called = np.frompyfunc(function, 1, 1)

        def for_all(values: ArrayLike) -> Array:
            # A NaN on the way sets the processor's flag, of which NumPy would warn.
            with np.errstate(all="ignore"):
                return np.asarray(called(np.asarray(values, dtype=object)), dtype=dtype)

        return for_all

    enter = each(context.mpf)
    return Arithmetic(
        widen=lambda values: enter(_plain(values)),
        exp=each(context.exp),
        log1p=each(context.log1p),
        exponent=each(lambda value: _within_int32(int(context.frexp(value)[1]) - 1), np.int64),
        power_of_two=each(lambda power: context.ldexp(1, int(power))),
    )


LONGDOUBLE: Final = _longdouble_arithmetic()
MPMATH: Final = _mpmath_arithmetic()
LONGDOUBLE_IS_WIDE: Final = bool(np.finfo(np.longdouble).nmant > np.finfo(np.float64).nmant)
ARITHMETIC: Final = LONGDOUBLE if LONGDOUBLE_IS_WIDE else MPMATH


@dataclass(frozen=True)
class Elements:
    """Wide per-element results, all of the logits' shape; zero where the element does not exist.

    ``grad_terms`` is the larger of the two terms whose difference is the gradient, and ``total``
    is W: they say how much rounding the formulas cannot avoid.
    """

    loss: Array
    grad: Array
    hess: Array
    weight: Array
    exists: NDArray[np.bool_]
    grad_terms: Array
    total: Array


def existing(
    targets: ArrayLike, where: ArrayLike | None = None, ignore_index: float | None = None
) -> NDArray[np.bool_]:
    """Return which elements exist: ``where`` is true and the target is not ``ignore_index``."""
    plain = _plain(targets)
    exists = np.ones(plain.shape, dtype=np.bool_)
    if where is not None:
        exists &= np.asarray(where)
    if ignore_index is not None:
        missing = np.isnan(plain) if np.isnan(ignore_index) else plain == ignore_index
        exists &= ~missing
    return exists


def elements(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    where: ArrayLike | None = None,
    ignore_index: float | None = None,
    arithmetic: Arithmetic = ARITHMETIC,
) -> Elements:
    """Return loss, gradient and hessian of every element, weighted but not reduced."""
    shape = np.shape(logits)
    exists = existing(targets, where, ignore_index).reshape(-1)

    def flat(values: ArrayLike | None, absent: int) -> Array:
        given = np.broadcast_to(np.asarray(1 if values is None else values), shape)
        return np.where(exists, arithmetic.widen(given.reshape(-1)), arithmetic.widen(absent))

    x, y = flat(logits, 0), flat(targets, 0)
    w, p = flat(weight, 0), flat(pos_weight, 1)
    smoothing = arithmetic.widen(label_smoothing)
    with np.errstate(all="ignore"):
        wpos = w * p * (y * (1 - smoothing) + smoothing / 2)
        wneg = w * ((1 - y) * (1 - smoothing) + smoothing / 2)
        results = _formulas(x, wneg, wpos, arithmetic)
    loss, grad, hess, grad_terms, total = (part.reshape(shape) for part in results)
    return Elements(loss, grad, hess, w.reshape(shape), exists.reshape(shape), grad_terms, total)


def _formulas(x: Array, wneg: Array, wpos: Array, arithmetic: Arithmetic) -> tuple[Array, ...]:
    positive = x >= 0
    a = abs(x)
    m = np.where(positive, wneg, wpos)
    total = wneg + wpos
    e = arithmetic.exp(-a)
    t = e / (1 + e)
    # An infinite logit with the right label has no loss, though inf * 0 is NaN. A NaN logit stays
    # NaN through the second term, whatever the weights are.
    linear = np.where(m == 0, arithmetic.widen(0), a * m)
    loss = linear + total * arithmetic.log1p(e)
    grad = np.where(positive, 1, -1) * (m - total * t)
    return loss, grad, total * t * (1 - t), np.maximum(abs(m), abs(total * t)), abs(total)


@dataclass(frozen=True)
class Answer:
    """Wide results of one call: the reduced value and the derivatives of that reduced value.

    ``floor`` is how far ``value`` may be off because the elements have a smallest subnormal, in
    units of that subnormal. ``grad_terms`` and ``total`` are those of Elements, scaled.
    """

    value: Array
    grad: Array
    hess: Array
    count: Array
    floor: Array
    grad_terms: Array
    total: Array


def answer(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    reduction: Reduction = "mean",
    axis: Axis = None,
    grad_output: ArrayLike | None = None,
    arithmetic: Arithmetic = ARITHMETIC,
    **options: Any,
) -> Answer:
    """Return what a call of the package with these arguments has to return."""
    parts = elements(logits, targets, arithmetic=arithmetic, **options)
    axes = () if reduction == "none" else _axes(axis, parts.loss.ndim)
    count = np.asarray(np.sum(parts.exists, axis=axes, keepdims=True))
    divisor = _divisor(parts, reduction, axes, count, arithmetic)
    result_shape = tuple(n for i, n in enumerate(parts.loss.shape) if i not in axes)

    def reduced(values: Array, if_empty: float) -> Array:
        """Reduce, with ``if_empty`` where the divisor is 0 and nothing can be divided by it."""
        total = np.asarray(np.sum(values, axis=axes, keepdims=True))
        quotient = total / np.where(divisor == 0, 1, divisor)
        filled = np.where(divisor == 0, arithmetic.widen(if_empty), quotient)
        return filled.reshape(result_shape)

    outer = arithmetic.widen(1.0 if grad_output is None else grad_output)
    outer = np.broadcast_to(outer, result_shape).reshape(count.shape)
    with np.errstate(all="ignore"):
        scale = np.where(divisor == 0, 0 * outer, outer / np.where(divisor == 0, 1, divisor))
        return Answer(
            value=reduced(parts.loss, float("nan")),
            grad=np.asarray(parts.grad * scale),
            hess=np.asarray(parts.hess * scale),
            count=count.reshape(result_shape),
            floor=reduced(np.maximum(parts.total, 1 * parts.exists), 0.0),
            grad_terms=np.asarray(parts.grad_terms * abs(scale)),
            total=np.asarray(parts.total * np.maximum(abs(scale), 1)),
        )


def _axes(axis: Axis, ndim: int) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(ndim))
    return tuple(a % ndim for a in ((axis,) if isinstance(axis, int) else axis))


def _divisor(
    parts: Elements,
    reduction: Reduction,
    axes: tuple[int, ...],
    count: Array,
    arithmetic: Arithmetic,
) -> Array:
    if reduction == "mean":
        return arithmetic.widen(count)
    if reduction == "weighted_mean":
        return np.asarray(np.sum(parts.weight, axis=axes, keepdims=True))
    return arithmetic.widen(np.ones(count.shape))


def term_scale(
    terms: Array, total: Array, dtype: Any, arithmetic: Arithmetic = ARITHMETIC
) -> Array:
    """Return the magnitude whose last place is the unit for results that are differences.

    Soft targets make the gradient a difference of two terms; its error is the terms' rounding.
    A weight above 1 multiplies the rounding of a subnormal, hence the second argument.
    """
    lowest = np.asarray(FORMATS[np.dtype(dtype)].min_exponent)
    return np.asarray(np.maximum(terms, total * arithmetic.power_of_two(lowest)))


def ulp_error(
    actual: ArrayLike,
    exact: Array,
    dtype: Any,
    scale: Array | None = None,
    arithmetic: Arithmetic = ARITHMETIC,
) -> NDArray[np.float64]:
    """Return |actual - exact| in units in the last place of ``dtype`` at the exact value.

    The unit is never below the smallest subnormal, nor below the last place of ``scale``. NaN
    matches only NaN, an exact infinity only itself, zeros match whatever their sign; a finite
    value beyond the range counts as the first power of two that the format cannot hold.
    """
    form = FORMATS[np.dtype(dtype)]
    magnitude = abs(exact) if scale is None else np.maximum(abs(exact), scale)
    usable = (magnitude > 0) & (magnitude < float("inf"))
    exponent = arithmetic.exponent(np.where(usable, magnitude, arithmetic.widen(1)))
    exponent = np.where(magnitude > 0, exponent, form.min_exponent)
    exponent = np.clip(exponent, form.min_exponent, form.max_exponent)
    unit = arithmetic.power_of_two(np.asarray(exponent - form.fraction_bits))
    return _error_in_units(actual, exact, unit, form.max_exponent, arithmetic)


def value_error(
    actual: ArrayLike, expected: Answer, dtype: Any, arithmetic: Arithmetic = ARITHMETIC
) -> NDArray[np.float64]:
    """Return the relative error of a reduced float64 value in epsilons of the logits' dtype."""
    form = FORMATS[np.dtype(dtype)]
    steps = np.asarray([-form.fraction_bits, form.min_exponent - form.fraction_bits, -1074])
    epsilon, subnormal, least = arithmetic.power_of_two(steps)
    with np.errstate(all="ignore"):
        unit = np.asarray(abs(expected.value) * epsilon + expected.floor * subnormal + least)
    return _error_in_units(actual, expected.value, unit, 1023, arithmetic)


def _error_in_units(
    actual: ArrayLike, exact: Array, unit: Array, max_exponent: int, arithmetic: Arithmetic
) -> NDArray[np.float64]:
    got = arithmetic.widen(actual)
    if got.shape != exact.shape:
        raise ValueError(f"the result has shape {got.shape}, the exact one {exact.shape}")
    over = arithmetic.power_of_two(np.asarray(max_exponent + 1))
    with np.errstate(all="ignore"):
        matches = (got == exact) | (_isnan(got) & _isnan(exact))
        comparable = ~_isnan(got) & (abs(exact) < float("inf")) & (unit < float("inf"))
        near = np.minimum(np.maximum(np.where(comparable, got, 0), -over), over)
        want = np.minimum(np.maximum(np.where(comparable, exact, 0), -over), over)
        error = abs(near - want) / np.where(comparable, unit, arithmetic.widen(1))
    error = np.asarray(np.where(matches, 0.0, np.where(comparable, error, float("inf"))))
    return error.astype(np.float64)


def _isnan(wide: Array) -> NDArray[np.bool_]:
    """Find NaNs in arrays of either kind: they alone are neither below nor above infinity."""
    return ~(np.asarray(wide <= float("inf"), dtype=np.bool_))


def worst(errors: NDArray[np.float64]) -> float:
    """Return the largest error, 0 for none at all."""
    return float(np.max(errors, initial=0.0))


def rounded(exact: Array, dtype: Any) -> Array:
    """Return wide numbers rounded to ``dtype``, to nearest even."""
    if np.dtype(dtype) == np.dtype(ml_dtypes.bfloat16):
        return exact.astype(np.float32).astype(dtype)
    return exact.astype(dtype)

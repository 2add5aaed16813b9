"""Sums and products of float64 arrays whose rounding errors are kept.

The compiled core divides a gradient by what a mean divides by in one fused operation, with the
quotient in two parts. An adapter that sees a part of the data at a time, and so has to pass the
divisor of the whole to calls that would find another one, does here what the core does there.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["fused_multiply_add", "pairwise_total", "scale_in_place", "split_quotient", "two_sum"]

_Float64 = NDArray[np.float64]

# Veltkamp's constant, which splits a float64 into two numbers of 26 bits.
_SPLITTER = 2.0**27 + 1.0

# Between these magnitudes no intermediate of the product's error overflows or underflows.
_SMALLEST_SAFE = 2.0**-900
_LARGEST_SAFE = 2.0**990

# Finds what is within a relative 2^-20 of half a unit in the last place.
_JUST_ABOVE_ONE = 1.0 + 2.0**-20

# Up to this many elements a quotient is far enough from the middle between two numbers.
_LARGEST_COUNT = 2.0**50

# Above this the core takes a quotient as it is.
_LARGEST_SPLIT = 2.0**960


def two_sum(a: _Float64, b: _Float64) -> tuple[_Float64, _Float64]:
    """Return a + b rounded, and exactly what the rounding lost (Knuth)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def pairwise_total(terms: _Float64) -> tuple[_Float64, _Float64]:
    """Return the sum over the last axis in two parts, high and low.

    The parts are wrong by a relative error of the order of 2^-104, so that high + low is the
    correctly rounded sum but for sums next to the middle between two numbers. Where a sum is not
    finite, low is 0.
    """
    if terms.shape[-1] == 0:
        return np.zeros(terms.shape[:-1]), np.zeros(terms.shape[:-1])
    high, low = np.array(terms), np.zeros_like(terms)
    with np.errstate(over="ignore", invalid="ignore"):
        while high.shape[-1] > 1:
            half = high.shape[-1] // 2
            rest = high.shape[-1] - half
            total, error = two_sum(high[..., :half], high[..., rest:])
            low[..., :half] += low[..., rest:] + error
            high[..., :half] = total
            high, low = high[..., :rest], low[..., :rest]
    return high[..., 0], np.where(np.isfinite(high[..., 0]), low[..., 0], 0.0)


def _two_product(a: _Float64, b: _Float64) -> tuple[_Float64, _Float64]:
    """Return a * b rounded, and exactly what the rounding lost (Dekker)."""
    product = a * b
    a_scaled, b_scaled = _SPLITTER * a, _SPLITTER * b
    a_high, b_high = a_scaled - (a_scaled - a), b_scaled - (b_scaled - b)
    a_low, b_low = a - a_high, b - b_high
    error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return product, error


def _sum_rounded_to_odd(a: _Float64, b: _Float64) -> _Float64:
    """Return a + b where it is exact, else the neighbour of a + b whose last bit is 1."""
    total, error = two_sum(a, b)
    bits = total.view(np.int64)
    is_even_and_inexact = (error != 0.0) & (bits & 1 == 0)
    away_from_zero = (error > 0.0) == (total > 0.0)
    bits += np.where(is_even_and_inexact, np.where(away_from_zero, 1, -1), 0)
    return total


def _one_by_one(a: _Float64, b: _Float64, c: _Float64) -> list[float]:
    """Return a * b + c of finite numbers by exact arithmetic."""
    results = []
    for x, y, z in zip(a.tolist(), b.tolist(), c.tolist(), strict=True):
        exact = Fraction(x) * Fraction(y) + Fraction(z)
        try:
            results.append(float(exact))
        except OverflowError:
            results.append(np.inf if exact > 0 else -np.inf)
    return results


def fused_multiply_add(a: ArrayLike, b: ArrayLike, c: ArrayLike) -> _Float64:
    """Return a * b + c rounded once, as a processor's fused operation has it.

    Boldo and Melquiond (2008), "Emulation of FMA and correctly rounded sums: proved algorithms
    using rounding to odd", which is exact where nothing overflows or underflows on the way;
    other elements are computed one by one.

    Parameters
    ----------
    a, b, c : array_like of float64
        Of shapes that can be broadcast together.

    Returns
    -------
    ndarray of float64
        Of their common shape.
    """
    a, b, c = np.broadcast_arrays(*(np.asarray(x, dtype=np.float64) for x in (a, b, c)))
    with np.errstate(all="ignore"):
        product, error = _two_product(a, b)
        low, low_error = two_sum(c, error)
        high, high_error = two_sum(product, low)
        result = np.asarray(high + _sum_rounded_to_odd(low_error, high_error))
        sizes = [abs(x) for x in (product, a, b, c)]
        is_safe = sizes[0] >= _SMALLEST_SAFE
        for size in sizes:
            is_safe &= size <= _LARGEST_SAFE
        if not is_safe.all():
            is_plain = (a == 0.0) | (b == 0.0)
            for x in (a, b, c):
                is_plain |= ~np.isfinite(x)
            result[is_plain] = (product + c)[is_plain]
            rest = ~(is_safe | is_plain)
            result[rest] = _one_by_one(a[rest], b[rest], c[rest])
    return result


def split_quotient(numerator: ArrayLike, divisor: ArrayLike) -> tuple[_Float64, _Float64]:
    """Return numerator / divisor in two parts, high + low; 0 where the divisor is 0."""
    numerator, divisor = np.broadcast_arrays(
        np.asarray(numerator, dtype=np.float64), np.asarray(divisor, dtype=np.float64)
    )
    with np.errstate(all="ignore"):
        high = np.asarray(numerator / divisor)
        low = np.asarray(fused_multiply_add(-high, divisor, numerator) / divisor)
        low = np.where(abs(high) <= _LARGEST_SPLIT, low, 0.0)
    is_defined = divisor != 0.0
    return np.where(is_defined, high, 0.0), np.where(is_defined, low, 0.0)


def scale_in_place(
    values: NDArray[Any], high: _Float64, low: _Float64, *, count: _Float64 | None = None
) -> None:
    """Multiply float64 values by high + low with one rounding, piece by piece.

    `low` must be what the rounding of a quotient to `high` lost, as `split_quotient` returns it.

    Where the quotient is 1 / `count`, for counts up to 2^50, a division gives the same bits and is
    faster: a normal quotient is never nearer than a relative 2^-54 / count to the middle between
    two numbers, and the product is off by less than 2^-105 before it is rounded.
    """
    zeros = np.broadcast_to(0.0, values.shape)
    pieces = np.nditer(
        [values, high, low, zeros if count is None else count],
        flags=["external_loop", "buffered", "zerosize_ok"],
        op_flags=[["readwrite"], ["readonly"], ["readonly"], ["readonly"]],
        buffersize=8192,
    )
    with pieces, np.errstate(all="ignore"):
        for piece, factor, correction, divisor in pieces:
            if (
                count is None
                or _holds_tiny(piece)
                or not ((divisor >= 1.0) & (divisor <= _LARGEST_COUNT)).all()
            ):
                piece[...] = _scaled(piece, factor, correction)
            else:
                np.divide(piece, divisor, out=piece)


def _holds_tiny(values: _Float64) -> bool:
    """Return whether some value could have a subnormal quotient."""
    sizes = abs(values)
    return bool(((sizes < _SMALLEST_SAFE) & (sizes > 0.0)).any())


def _scaled(values: _Float64, high: _Float64, low: _Float64) -> _Float64:
    """Return values * high + values * low, the second product rounded by itself.

    A float64 sum of the small terms is off by far less than they are. That matters only where
    the whole lies next to the middle between two numbers: such elements are computed again.
    """
    product, error = _two_product(values, high)
    # An infinite value has no correction.
    correction = np.where(np.isinf(values), 0.0, values * low)
    small = error + correction
    result = np.asarray(product + small)
    lost = small - (result - product)
    is_doubtful = result + lost * _JUST_ABOVE_ONE != result
    is_doubtful |= ~(abs(product) >= _SMALLEST_SAFE)
    for size in (abs(product), abs(values), abs(high)):
        is_doubtful |= size > _LARGEST_SAFE
    if is_doubtful.any():
        operands = (values[is_doubtful], high[is_doubtful], correction[is_doubtful])
        result[is_doubtful] = fused_multiply_add(*operands)
    return result

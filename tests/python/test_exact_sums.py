"""Sums and products whose rounding errors are kept, against exact arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from arrays import same_bits
from logitloss.integrations._exact import (
    fused_multiply_add,
    pairwise_total,
    scale_in_place,
    split_quotient,
)

COUNT = 3000

# 3 times this is 2^53 + 1, in the middle between two numbers.
THIRD_OF_MIDDLE = 3002399751580331.0


def rounded(exact: Fraction) -> float:
    """Return the nearest float64, an infinity beyond the range."""
    try:
        return float(exact)
    except OverflowError:
        return math.inf if exact > 0 else -math.inf


def wide_numbers(seed: int, lowest: int = -60, highest: int = 60) -> NDArray[np.float64]:
    """Return numbers of both signs over many powers of two."""
    rng = np.random.default_rng(seed)
    exponents = rng.integers(lowest, highest, COUNT)
    return np.asarray(rng.standard_normal(COUNT) * np.exp2(exponents))


def products() -> dict[str, tuple[Any, Any, Any]]:
    """Return factors and addends, from cancellation to hardly anything added."""
    rng = np.random.default_rng(5)
    a, b = wide_numbers(1), wide_numbers(2)
    steps = rng.integers(-3, 4, COUNT) * 2.0**-52
    integers = rng.integers(-(2**27), 2**27, (2, COUNT)).astype(np.float64)
    halves = rng.integers(-3, 4, COUNT) * np.exp2(rng.integers(-4, 2, COUNT))
    tiny = wide_numbers(3, -1070, -940)
    signs = rng.choice([-1.0, 1.0], (2, COUNT))
    return {
        "cancelling": (a, b, -(a * b) * (1 + steps)),
        "small addends": (a, b, a * b * wide_numbers(4, -54, -50)),
        "unrelated addends": (a, b, wide_numbers(6)),
        "middles": (integers[0], integers[1], halves),
        "just off middles": (3.0 * signs[0], signs[1] * THIRD_OF_MIDDLE, signs[1] * 2.0**-70),
        "underflow": (tiny, a, tiny * a * 2.0**-53),
        "overflow": (a * 2.0**960, b * 2.0**60, a),
        "large": (a * 2.0**900, b, -(a * 2.0**900 * b)),
    }


@pytest.mark.parametrize("numbers", products().values(), ids=products().keys())
def test_a_fused_product_is_rounded_once(numbers: tuple[Any, Any, Any]) -> None:
    exact = [
        rounded(Fraction(x) * Fraction(y) + Fraction(z))
        for x, y, z in zip(*(part.tolist() for part in numbers), strict=True)
    ]
    np.testing.assert_array_equal(fused_multiply_add(*numbers), exact)


def test_zeros_infinities_and_nan_are_as_ieee_754_has_them() -> None:
    specials = np.array([0.0, -0.0, 1.5, math.inf, -math.inf, math.nan])
    a, b, c = (part.reshape(-1) for part in np.meshgrid(specials, specials, specials))
    with np.errstate(invalid="ignore"):
        assert same_bits(fused_multiply_add(a, b, c), a * b + c)


@pytest.mark.parametrize("divisor", [3.0, 49.0, 10**6 + 3.0, 0.1, 1e200])
def test_a_quotient_in_two_parts(divisor: float) -> None:
    numerator = wide_numbers(7)
    high, low = split_quotient(numerator, divisor)
    quotients = [Fraction(x) / Fraction(divisor) for x in numerator.tolist()]
    assert high.tolist() == [float(exact) for exact in quotients]
    rests = [exact - Fraction(x) for exact, x in zip(quotients, high.tolist(), strict=True)]
    np.testing.assert_allclose(low, [float(rest) for rest in rests], rtol=1e-15)


def test_nothing_is_divided_by_zero() -> None:
    high, low = split_quotient([1.0, math.inf, 0.0], [0.0, 0.0, 0.0])
    assert high.tolist() == low.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("order", ["C", "F"])
def test_scaling_rounds_once(order: Any) -> None:
    values = np.array(wide_numbers(8).reshape(60, 50), order=order)
    values[3, 7:20] = 0.0
    values[4] *= 2.0**-960
    values[5:7] = [[3.0], [-3.0]]
    high, low = split_quotient(1.0, np.arange(3.0, 63.0)[:, None])
    high[5:7], low[5:7] = THIRD_OF_MIDDLE, 2.0**-70
    exact = [
        rounded(Fraction(x) * Fraction(h) + Fraction(x * rest))
        for x, h, rest in zip(
            *(np.broadcast_to(part, (60, 50)).ravel().tolist() for part in (values, high, low)),
            strict=True,
        )
    ]
    scale_in_place(values, np.broadcast_to(high, (60, 50)), np.broadcast_to(low, (60, 50)))
    assert values.ravel().tolist() == exact


def test_division_by_a_count_has_the_same_bits() -> None:
    values = np.tile(wide_numbers(10), (4, 1))
    values[1] *= 2.0**-1000
    values[2, ::3] = 0.0
    counts = np.array([3.0, 7.0, 10**6 + 3.0, 2.0**51 + 1])[:, None]
    parts = [np.broadcast_to(part, values.shape) for part in split_quotient(1.0, counts)]
    divided = values.copy()
    scale_in_place(divided, *parts, count=np.broadcast_to(counts, values.shape))
    scale_in_place(values, *parts)
    assert same_bits(divided, values)


@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 5, 1000, 1023])
def test_a_total_is_the_rounded_sum(length: int) -> None:
    terms = np.resize(wide_numbers(9), (4, length))
    high, low = pairwise_total(terms)
    assert (high + low).tolist() == [math.fsum(row) for row in terms.tolist()]


def test_a_total_beyond_the_range_is_infinite() -> None:
    high, low = pairwise_total(np.full((1, 5), 1e308))
    assert (high.tolist(), low.tolist()) == ([math.inf], [0.0])

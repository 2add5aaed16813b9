"""Print `cpp/src/math/constants.h`: every constant of the mathematics, with its proof.

Each polynomial is the weighted least-squares fit at Chebyshev points, which is nearly the
minimax approximation, computed with 60 digits.  Coefficients are rounded to the target format
from the lowest degree upwards, and after each rounding the remaining ones are fitted again, so
that they absorb the rounding of those before them.

The error bound printed beside a polynomial is that of the *rounded* coefficients, and it is
proved, not sampled.  The function is replaced by a Taylor polynomial whose remainder is bounded
by a geometric series.  The weight that makes an error relative is a power of the argument times
a monotone factor.  The difference of the two polynomials times that power is a polynomial D, of
degree d; it is evaluated at N Chebyshev points of each of 32 parts of the interval, and

    max |D| <= max over the points |D| / cos(pi d / (2 N))

holds for every polynomial (H. Ehlich and K. Zeller, Schwankung von Polynomen zwischen
Gitterpunkten, Mathematische Zeitschrift 86, 1964).  The monotone factor is bounded on each part
by its values at the ends.

Usage: ``python cpp/tools/generate_constants.py > cpp/src/math/constants.h``, or ``--check``.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import pathlib
import sys
from collections.abc import Callable
from dataclasses import dataclass

import mpmath
from mpmath import mpf

mpmath.mp.dps = 60

Function = Callable[[mpf], mpf]

HEADER_PATH = pathlib.Path(__file__).parents[1] / "src" / "math" / "constants.h"


@dataclass(frozen=True)
class Format:
    """A binary floating-point format of IEEE 754."""

    name: str
    suffix: str
    precision: int
    exponent_bits: int
    smallest_exponent: int

    def round(self, value: mpf, bits: int | None = None) -> mpf:
        """Round to nearest with `bits` significant bits (default: the format's)."""
        with mpmath.workprec(bits or self.precision):
            return +value

    def literal(self, value: mpf) -> str:
        """Return the exact C++ hexadecimal literal of a value of this format."""
        assert self.round(value) == value
        mantissa, exponent = float(value).hex().split("p")
        return f"{mantissa.rstrip('0').rstrip('.')}p{exponent}{self.suffix}"


FLOAT32 = Format("float", "F", 24, 8, -126)
FLOAT64 = Format("double", "", 53, 11, -1022)


@dataclass(frozen=True)
class Approximation:
    """A function to approximate by a polynomial, and the weight of its error.

    The weight is the argument to the power `power` times the monotone `factor`.  The polynomial is
    one in the argument less `centre`.  `taylor` gives the Taylor coefficients of the function about
    `shift`, and `ratio` bounds the ratio of the sizes of consecutive terms on the interval.  Where
    `is_exact_at_high` is set, the polynomial interpolates the function, also at `high`.
    """

    name: str
    meaning: str
    function: Function
    power: int
    factor: Function
    low: mpf
    high: mpf
    centre: mpf
    shift: mpf
    taylor: Callable[[mpf, int], list[mpf]]
    ratio: mpf
    is_exact_at_high: bool = False

    def weight(self, argument: mpf) -> mpf:
        """Return what makes an error of the polynomial a relative error of the identity."""
        return argument**self.power * self.factor(argument)


def exponential_tail(r: mpf) -> mpf:
    """Return (exp(r) - 1 - r) / r**2, by its series where the quotient would cancel."""
    if abs(r) < mpf("1e-8"):
        return mpmath.nsum(lambda k: r ** int(k) / mpmath.factorial(k + 2), [0, 8])
    return (mpmath.expm1(r) - r) / r**2


def logarithm_tail(e: mpf) -> mpf:
    """Return (e - log1p(e)) / e**2, by its series where the quotient would cancel."""
    if abs(e) < mpf("1e-8"):
        return mpmath.nsum(lambda k: (-e) ** int(k) / (k + 2), [0, 8])
    return (e - mpmath.log1p(e)) / e**2


def exponential_taylor(_: mpf, count: int) -> list[mpf]:
    """Return the first coefficients of (exp(r) - 1 - r) / r**2 about 0."""
    return [1 / mpmath.factorial(k + 2) for k in range(count)]


def reciprocal_taylor(centre: mpf, count: int) -> list[mpf]:
    """Return the first coefficients of 1 / (1 + e) in powers of e - centre."""
    return [(-1) ** k / (1 + centre) ** (k + 1) for k in range(count)]


def logarithm_taylor(centre: mpf, count: int) -> list[mpf]:
    """Return the first coefficients of (e - log1p(e)) / e**2 in powers of u = e - centre.

    With f that function, (centre + u)**2 f = e - log1p(e); comparing coefficients gives
    centre**2 f_k + 2 centre f_(k-1) + f_(k-2) = c_k, where c_k are those of the right-hand side.
    The recurrence loses about 0.3 digits a step, so it runs with many to spare.
    """
    with mpmath.workdps(mpmath.mp.dps + count):
        base = 1 + centre
        right = [centre - mpmath.log(base), 1 - 1 / base]
        right += [(-1) ** k / (k * base**k) for k in range(2, count)]
        result: list[mpf] = []
        for k in range(count):
            known = 2 * centre * result[k - 1] if k > 0 else mpf(0)
            known += result[k - 2] if k > 1 else 0
            result.append((right[k] - known) / centre**2)
    return [+coefficient for coefficient in result]


HALF_LN2 = mpmath.log(2) / 2

EXPONENTIAL = Approximation(
    name="exp_tail",
    meaning="exp(r) = 1 + r + r^2 P(r)",
    function=exponential_tail,
    power=2,
    factor=lambda r: mpmath.exp(-r),
    low=-HALF_LN2 * mpf("1.0001"),
    high=HALF_LN2 * mpf("1.0001"),
    centre=mpf(0),
    shift=mpf(0),
    taylor=exponential_taylor,
    ratio=mpf("0.12"),
)

LOGARITHM = Approximation(
    name="log1p_tail",
    meaning="log1p(e) = e - e^2 P(e - centre)",
    function=logarithm_tail,
    power=1,
    factor=lambda e: e / mpmath.log1p(e) if e else mpf(1),
    low=mpf(0),
    high=mpf(1),
    centre=mpf("0.5"),
    shift=mpf("0.5"),
    taylor=logarithm_taylor,
    ratio=mpf("0.37"),
)


RECIPROCAL = Approximation(
    name="reciprocal",
    meaning="1 / (1 + e) = P(e)",
    function=lambda e: 1 / (1 + e),
    power=0,
    factor=lambda e: 1 + e,
    low=mpf(0),
    high=mpf(1),
    centre=mpf(0),
    shift=mpf("0.5"),
    taylor=reciprocal_taylor,
    ratio=mpf("0.37"),
    # What a Newton step makes of this must not fall below 1/2, which 1 / (1 + e) is at e = 1.
    is_exact_at_high=True,
)


def chebyshev_zeros(low: mpf, high: mpf, count: int) -> list[mpf]:
    """Return the zeros of the Chebyshev polynomial of degree `count` on an interval."""
    middle, half = (low + high) / 2, (high - low) / 2
    return [middle + half * mpmath.cospi(mpf(2 * k + 1) / (2 * count)) for k in range(count)]


def evaluate(coefficients: list[mpf], u: mpf) -> mpf:
    """Evaluate a polynomial, lowest degree first."""
    return mpmath.polyval(coefficients[::-1], u)


def least_squares(
    target: Approximation, fixed: list[mpf], degree: int, points: list[mpf]
) -> list[mpf]:
    """Return the coefficients, the first ones held fixed, of the best weighted fit at `points`."""
    unknowns = range(len(fixed), degree + 1)
    rows = [(point, target.function(point), target.weight(point)) for point in points]
    matrix = mpmath.matrix(len(rows), len(unknowns))
    right = mpmath.matrix(len(rows), 1)
    for row, (point, value, weight) in enumerate(rows):
        u = point - target.centre
        for column, power in enumerate(unknowns):
            matrix[row, column] = weight * u**power
        known = evaluate(fixed, u) if fixed else mpf(0)
        right[row] = weight * (value - known)
    solution, _ = mpmath.qr_solve(matrix, right)
    return fixed + [solution[k] for k in range(len(unknowns))]


def fitting_points(target: Approximation, degree: int) -> list[mpf]:
    """Return as many points as there are coefficients for an interpolation, else more."""
    count = degree + 1
    if not target.is_exact_at_high:
        return chebyshev_zeros(target.low, target.high, 4 * count)
    width = 2 * (target.high - target.low) / (1 + mpmath.cospi(mpf(1) / (2 * count)))
    return chebyshev_zeros(target.low, target.low + width, count)


def fit(target: Approximation, degree: int, target_format: Format) -> list[mpf]:
    """Return the coefficients in `target_format`, lowest degree first."""
    points = fitting_points(target, degree)
    fixed: list[mpf] = []
    while len(fixed) <= degree:
        coefficients = least_squares(target, fixed, degree, points)
        fixed.append(target_format.round(coefficients[len(fixed)]))
    return fixed


TAYLOR_TERMS = 60
PARTS = 32
POINTS_PER_DEGREE = 6


def proved_relative_error(target: Approximation, coefficients: list[mpf]) -> mpf:
    """Return a bound of the weighted error that holds on the whole interval."""
    taylor = target.taylor(target.shift, TAYLOR_TERMS)
    reach = max(abs(target.low - target.shift), abs(target.high - target.shift))
    remainder = abs(taylor[-1]) * reach ** (TAYLOR_TERMS - 1) * target.ratio / (1 - target.ratio)

    def difference(point: mpf) -> mpf:
        polynomial = evaluate(coefficients, point - target.centre)
        return polynomial - evaluate(taylor, point - target.shift)

    degree = TAYLOR_TERMS - 1 + target.power
    count = POINTS_PER_DEGREE * degree
    inflation = 1 / mpmath.cospi(mpf(degree) / (2 * count))
    ends = [target.low + (target.high - target.low) * k / PARTS for k in range(PARTS + 1)]
    bound = mpf(0)
    for low, high in itertools.pairwise(ends):
        points = chebyshev_zeros(low, high, count)
        largest = max(abs(p**target.power * difference(p)) for p in points)
        largest_power = max(abs(low), abs(high)) ** target.power
        factor = max(target.factor(low), target.factor(high))
        bound = max(bound, (largest * inflation + remainder * largest_power) * factor)
    return bound


def bound_text(error: mpf) -> str:
    """Return a bound as a power of two, rounded upwards in its last digit."""
    return f"2^{mpmath.nstr(mpmath.ceil(10 * mpmath.log(error, 2)) / 10, 4)}"


def polynomial_lines(target: Approximation, degree: int, target_format: Format) -> list[str]:
    """Return the definition of one polynomial with its interval and its error."""
    coefficients = fit(target, degree, target_format)
    error = proved_relative_error(target, coefficients)
    low, high = mpmath.nstr(target.low, 8), mpmath.nstr(target.high, 8)
    lines = [
        f"  // {target.meaning} on [{low}, {high}];",
        f"  // relative error below {bound_text(error)}.",
        f"  static constexpr {target_format.name} {target.name}[] = {{",
    ]
    lines += [f"      {target_format.literal(c)}," for c in coefficients]
    return [*lines, "  };"]


def reduction_lines(target_format: Format) -> list[str]:
    """Return the constants of the reduction -a = n ln 2 + r and of the scaling by 2**n."""
    name, precision = target_format.name, target_format.precision
    ln2 = mpmath.log(2)
    # n has at most exponent_bits significant bits, so n * ln2_high is exact.
    high = target_format.round(ln2, precision - target_format.exponent_bits - 1)
    low = target_format.round(ln2 - high)
    bias = 2 ** (target_format.exponent_bits - 1) - 1
    shifter = mpf(3) * mpf(2) ** (precision - 2) + bias + 64
    smallest = mpf(2) ** (target_format.smallest_exponent - precision + 1)
    flush = -mpmath.ceil(-mpmath.log(smallest / 2))
    tail_start = mpmath.floor(-mpmath.log(smallest) - (precision - 1) * ln2)
    literal = target_format.literal
    return [
        f"  static constexpr {name} log2_e = {literal(target_format.round(1 / ln2))};",
        "  // ln 2 in two parts; n * ln2_high is exact for every n that occurs.",
        f"  static constexpr {name} ln2_high = {literal(high)};",
        f"  static constexpr {name} ln2_low = {literal(low)};",
        "  // Adding it rounds to an integer n and leaves n + 64 + exponent bias in the low bits,",
        "  // which shifted into the exponent field are the number 2^(n + 64).",
        f"  static constexpr {name} shifter = {literal(shifter)};",
        f"  static constexpr {name} two_to_minus_64 = {literal(mpf(2) ** -64)};",
        "  // exp(x) rounds to zero from here down.",
        f"  static constexpr {name} exp_flush = {literal(flush)};",
        "  // exp(-a) is normal up to here.",
        f"  static constexpr {name} tail_start = {literal(tail_start)};",
    ]


def specialisation(
    target_format: Format, centre: mpf, exp_degree: int, log_degree: int, reciprocal_degree: int
) -> list[str]:
    """Return the constants of one format.

    The centre lies near the middle of [0, 1], where the constant coefficient of the logarithm's
    polynomial is almost a number of the format, so that rounding it costs nothing.
    """
    logarithm = dataclasses.replace(LOGARITHM, centre=centre, shift=centre)
    return [
        "template <>",
        f"struct Constants<{target_format.name}> {{",
        *reduction_lines(target_format),
        *polynomial_lines(EXPONENTIAL, exp_degree, target_format),
        "  // What the polynomial of the logarithm is centred on.",
        f"  static constexpr {target_format.name} centre = {target_format.literal(centre)};",
        *polynomial_lines(logarithm, log_degree, target_format),
        *polynomial_lines(RECIPROCAL, reciprocal_degree, target_format),
        "};",
    ]


def header() -> str:
    """Return the text of the whole header."""
    lines = [
        "// Generated by cpp/tools/generate_constants.py, which proves the bounds it prints.",
        "#pragma once",
        "",
        "namespace logitloss {",
        "namespace {",
        "",
        "template <class Real>",
        "struct Constants;",
        "",
        *specialisation(FLOAT32, mpf(17) / 32, 4, 8, 2),
        "",
        *specialisation(FLOAT64, mpf(239) / 512, 9, 20, 3),
        "",
        "}  // namespace",
        "}  // namespace logitloss",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Print the header, or compare it with the committed one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the committed header")
    arguments = parser.parse_args()
    text = header()
    if not arguments.check:
        sys.stdout.write(text)
        return 0
    if HEADER_PATH.read_text() == text:
        return 0
    sys.stderr.write(f"{HEADER_PATH} differs from what this generator prints\n")
    return 1


if __name__ == "__main__":
    raise SystemExit(main())

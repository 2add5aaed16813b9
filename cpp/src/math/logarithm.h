// log1p(e) for e in [0, 1], without a division.
#pragma once

#include "constants.h"
#include "exponential.h"
#include "platform.h"

namespace logitloss {
namespace {

// The polynomial in the formula below. That of double has 21 coefficients: in one chain they would
// take longer than all that is done beside them.
LOGITLOSS_INLINE float log1p_tail(float u) { return horner<Constants<float>::log1p_tail>(u); }
LOGITLOSS_INLINE double log1p_tail(double u) {
  return split_horner<Constants<double>::log1p_tail, 4>(u);
}

// The identity log1p(e) = e - e^2 P(e - centre): the polynomial is centred, so that its rounding
// errors die out quickly, and the last operation adds a small correction to e and so rounds
// once. e is given in two parts, high + low; low is multiplied by 1 - e / 2, which is within 0.09
// of the derivative 1 / (1 + e), so that less than a tenth of an ulp goes wrong.
//
// Range: 0 <= e <= 1, subnormal numbers included; NaN gives NaN.
template <class Real>
LOGITLOSS_INLINE Real log1p_of(Pair<Real> e) {
  using C = Constants<Real>;
  const Real tail = log1p_tail(e.high - C::centre);
  const Real low = e.low * multiply_add(Real(-0.5), e.high, Real{1});
  return e.high + multiply_add(e.high * e.high, -tail, low);
}

// log1p(p) for p >= 0 below 2^1023, as k ln 2 + log1p(e) with 1 + p = 2^k (1 + e). Below 1, where
// 1 + p would lose digits of p, k is 0 and e is p.
//
// Range: 0 <= p < 2^1023; NaN gives NaN.
LOGITLOSS_INLINE double log1p_of_product(double p) {
  using C = Constants<double>;
  constexpr unsigned long long mantissa = (1ULL << Bits<double>::mantissa_bits) - 1;
  const double whole = 1.0 + p;
  const unsigned long long bits = bits_of(whole);
  const double fraction = from_bits<double>((bits & mantissa) | bits_of(1.0)) - 1.0;
  const double exponent = exponent_of(whole);
  const bool is_small = !(p >= 1.0);
  const double e = is_small ? p : fraction;
  const double k = is_small ? 0.0 : exponent;
  return multiply_add(k, C::ln2_high, multiply_add(k, C::ln2_low, log1p_of(Pair<double>{e, 0.0})));
}

}  // namespace
}  // namespace logitloss

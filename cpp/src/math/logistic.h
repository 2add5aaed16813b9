// The logistic function of -|x|, without a division.
#pragma once

#include "constants.h"
#include "exponential.h"
#include "platform.h"

namespace logitloss {
namespace {

// One Newton step towards 1 / (1 + e): where r is off by the factor 1 + d, the result is by
// 1 - d^2 + excess.
template <class Real>
LOGITLOSS_INLINE Real improved_reciprocal(Real r, Real e, Real excess) {
  return multiply_add(r, multiply_add(-r, e, (Real{1} + excess) - r), r);
}

// An approximation to 1 / (1 + e) for e in [0, 1], never below 1/2, with a relative error below
// 2^-13.8 at every e. The polynomial is off by 2^-6.4, and not at all at e = 1; the excess is half
// of that squared.
LOGITLOSS_INLINE float approximate_reciprocal(float e) {
  return improved_reciprocal(horner<Constants<float>::reciprocal>(e), e, 0x1.2p-14F);
}

// The same with a relative error below 2^-34, by a second step. The excess lifts it above the
// reciprocal.
LOGITLOSS_INLINE double approximate_reciprocal(double e) {
  const double r = improved_reciprocal(horner<Constants<double>::reciprocal>(e), e, 0.0);
  return improved_reciprocal(r, e, 0x1p-35);
}

// sigmoid(-a) = t = e / (1 + e), where e = exp(-a) in two parts.
//
// q = e r, with r the approximate reciprocal, is corrected once. Its remainder
// e - q (1 + e) = (e - q) - q e costs no rounding that matters: e / 2 <= q < 2 e, so that e - q
// is exact (Sterbenz), and the fused operation rounds a number that is 2^-13.8 of e or less. What
// exp lost in rounding, low, enters the remainder as low (1 - q), and 1 - q is nearly r.
//
// Range: 0 <= e <= 1, subnormal numbers included; NaN gives NaN.
template <class Real>
LOGITLOSS_INLINE Real sigmoid_from(Pair<Real> e) {
  const Real r = approximate_reciprocal(e.high);
  const Real q = e.high * r;
  const Real remainder = multiply_add(-q, e.high, e.high - q);
  return multiply_add(multiply_add(e.low, r, remainder), r, q);
}

}  // namespace
}  // namespace logitloss

// The logistic function of -|x|, without a division.
#pragma once

#include "constants.h"
#include "exponential.h"
#include "platform.h"

namespace logitloss {
namespace {

// An approximation to 1 / (1 + e) for e in [0, 1], never below 1/2, with a relative error below
// 2^-13.8.
LOGITLOSS_INLINE float approximate_reciprocal(float e) {
  return horner<Constants<float>::reciprocal>(e - Constants<float>::centre);
}

// The same with a relative error below 2^-31: a polynomial good to 16 bits and one Newton step,
// whose result would lie below the reciprocal; 2^-32 lifts it above.
LOGITLOSS_INLINE double approximate_reciprocal(double e) {
  const double r = horner<Constants<double>::reciprocal>(e - Constants<double>::centre);
  return multiply_add(r, multiply_add(-r, e, (1.0 + 0x1p-32) - r), r);
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

// exp(x) for x <= 0, in two parts, down to the smallest subnormal.
#pragma once

#include "constants.h"
#include "platform.h"

namespace logitloss {
namespace {

// An unevaluated sum: |low| is at most half an ulp of high.
template <class Real>
struct Pair {
  Real high;
  Real low;
};

// The identity exp(x) = 2^n exp(r), with n = round(x / ln 2) and r = x - n ln 2, so that
// |r| <= ln(2) / 2, and exp(r) = 1 + s with s = r + r^2 P(r).
//
// Range: every x <= 0, -inf included; NaN gives NaN. exp(-inf) = 0.
// high is exp(x) to within 1.01 ulp, high + low to within 0.51 ulp of high. Where exp(x) is
// subnormal, high is rounded to fewer digits, is within 0.75 ulp, and low is 0.
template <class Real>
LOGITLOSS_INLINE Pair<Real> exp_of(Real x) {
  using C = Constants<Real>;
  const Real shifted = multiply_add(x, C::log2_e, C::shifter);
  const Real n = shifted - C::shifter;
  const Real exact_part = multiply_add(n, -C::ln2_high, x);
  const Real r = multiply_add(n, -C::ln2_low, exact_part);
  const Real s = multiply_add(r * r, horner<C::exp_tail>(r), r);
  // 2^(n + 64) is a normal number for every n. Its product with 2^-64 is exact, also where it is
  // subnormal, but for the last n of all, where 2^n is half the smallest number and rounds to 0.
  // So is its product with s, wherever there is a bit to lose, and low is what high lost.
  const Real raised = from_bits<Real>(bits_of(shifted) << Bits<Real>::mantissa_bits);
  const Real scale = raised * C::two_to_minus_64;
  const Real high = multiply_add(s, scale, scale);
  const Real low = multiply_add(s, scale, scale - high);
  // Far below, n and all that follows from it mean nothing. A NaN is not below anything and stays.
  const bool is_zero = x < C::exp_flush;
  return {is_zero ? Real{0} : high, is_zero ? Real{0} : low};
}

}  // namespace
}  // namespace logitloss

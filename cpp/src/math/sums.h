// The steps of sums in float64. float terms are summed in plain double, which leaves 29 bits to
// spare; double terms are summed with the error of each addition kept (Knuth's two-sum), so that a
// sum is as good as one of its terms.
#pragma once

#include "platform.h"

namespace logitloss {
namespace {

// Terms up to here cannot overflow a sum of 2^60 of them.
template <class Real>
constexpr Real largest_summed = Real(sizeof(Real) == sizeof(float) ? 0x1.fffffep127 : 0x1p960);

LOGITLOSS_INLINE void add_to(double& high, double&, float term) {
  high += static_cast<double>(term);
}

LOGITLOSS_INLINE void add_to(double& high, double& low, double term) {
  const double sum = high + term;
  const double part = sum - high;
  low += (high - (sum - part)) + (term - part);
  high = sum;
}

// The sum of log1p(e) is the logarithm of the product of all 1 + e, one logarithm for many
// elements. The product less 1 is what is kept: it does not lose small e beside 1. Each step rounds
// by 2^-52 of it at most, and 512 elements keep it below 2^512.
LOGITLOSS_INLINE void multiply_into(double& product, double e) {
  product = multiply_add(e, 1.0 + product, product);
}

}  // namespace
}  // namespace logitloss

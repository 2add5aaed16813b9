// Factors: of a result in two parts, and how large those may be that float multiplies by.
#pragma once

#include "constants.h"
#include "platform.h"
#include "sums.h"

namespace logitloss {

// A factor in two parts, so that multiplying by it costs one rounding and not two.
template <class Real>
struct Scale {
  Real high;
  Real low;
};

// Weights above 1 amplify the rounding of subnormal numbers. A product of two weights that are not
// extreme, that is neither above 2^30 nor, but for 0, below 2^-30, is within the range of float.
enum WeightSize : unsigned { amplifies = 1, is_extreme = 2 };

namespace {

template <class Real>
LOGITLOSS_INLINE Real scaled(Real value, Real high, Real low) {
  return multiply_add(value, high, value * low);
}

// The same for a value that may be infinite: low is 0 where high is exact.
template <class Real>
LOGITLOSS_INLINE Real scaled_also_if_infinite(Real value, Real high, Real low) {
  const Real correction = value * low;
  return multiply_add(value, high, magnitude(value) < infinity<Real> ? correction : Real{0});
}

LOGITLOSS_INLINE void split_quotient(double numerator, double denominator, Scale<float>& scale) {
  const double quotient = numerator / denominator;
  scale.high = static_cast<float>(quotient);
  scale.low = static_cast<float>(quotient - static_cast<double>(scale.high));
}

LOGITLOSS_INLINE void split_quotient(double numerator, double denominator, Scale<double>& scale) {
  scale.high = numerator / denominator;
  scale.low = 0.0;
  if constexpr (fused) {
    scale.low = multiply_add(-scale.high, denominator, numerator) / denominator;
  }
}

// numerator / denominator in two parts; 0 where the denominator is 0.
template <class Real>
LOGITLOSS_INLINE Scale<Real> quotient_of(double numerator, double denominator) {
  Scale<Real> scale{};
  split_quotient(numerator, denominator, scale);
  const bool finite = magnitude(scale.high) <= largest_summed<Real>;
  scale.low = finite ? scale.low : Real{0};
  const bool defined = denominator != 0.0;
  return {defined ? scale.high : Real{0}, defined ? scale.low : Real{0}};
}

// A derivative times numerator / denominator, rounded once more, whatever its type is.
template <class Real>
LOGITLOSS_INLINE Real scaled_by_quotient(Real derivative, double numerator, double denominator) {
  const Scale<double> factor = quotient_of<double>(numerator, denominator);
  return static_cast<Real>(scaled(static_cast<double>(derivative), factor.high, factor.low));
}

LOGITLOSS_INLINE bool is_finite(double x) { return magnitude(x) < infinity<double>; }

LOGITLOSS_INLINE bool is_finite_quotient(double numerator, double denominator) {
  return is_finite(denominator) && is_finite(numerator / denominator);
}

// Whether exp(-|x|) is subnormal, or 0 although x is finite.
template <class Real>
LOGITLOSS_INLINE bool is_in_tail(Real x) {
  const Real size = magnitude(x);
  return size >= Constants<Real>::tail_start && size < infinity<Real>;
}

// As a set of WeightSize.
template <class Real>
LOGITLOSS_INLINE unsigned size_of_weight(Real weight) {
  const Real size = magnitude(weight);
  const bool extreme = (size > Real(0x1p30)) | ((size > Real{0}) & (size < Real(0x1p-30)));
  return (size > Real{1} ? unsigned{amplifies} : 0U) | (extreme ? unsigned{is_extreme} : 0U);
}

// What float cannot scale derivatives by without harm, as a set of WeightSize.
LOGITLOSS_INLINE unsigned size_of_scale(double numerator, double denominator) {
  const double size = magnitude(numerator / denominator);
  const bool extreme = size > 0x1p60 || (size > 0.0 && size < 0x1p-60);
  return (size > 1.0 ? unsigned{amplifies} : 0U) | (extreme ? unsigned{is_extreme} : 0U);
}

}  // namespace
}  // namespace logitloss

// A sum that neither loses digits nor overflows where its value, or a mean of it, is finite.
#pragma once

#include "math/factor.h"
#include "math/sums.h"

namespace logitloss {

// Terms too large to be summed as they are enter a second sum, scaled by 2^-512.
constexpr double down_scale = 0x1p-512;
constexpr double up_scale = 0x1p512;

struct Sum {
  double high = 0.0;
  double low = 0.0;
  double large_high = 0.0;
  double large_low = 0.0;

  LOGITLOSS_INLINE void add(double term) { add_to(high, low, term); }
  LOGITLOSS_INLINE void add_large(double scaled_term) {
    add_to(large_high, large_low, scaled_term);
  }

  LOGITLOSS_INLINE void add(const Sum& other) {
    add_to(high, low, other.high);
    low += other.low;
    add_to(large_high, large_low, other.large_high);
    large_low += other.large_low;
  }

  // A NaN counts as large.
  LOGITLOSS_INLINE bool is_large() const { return large_high != 0.0; }

  LOGITLOSS_INLINE double small_part() const { return high + low; }

  // The errors kept of an infinite or NaN sum mean nothing.
  LOGITLOSS_INLINE double large_part() const {
    return is_finite(large_high) ? large_high + large_low : large_high;
  }

  LOGITLOSS_INLINE double scaled_value() const { return small_part() * down_scale + large_part(); }

  LOGITLOSS_INLINE double value() const {
    return is_large() ? scaled_value() * up_scale : small_part();
  }
};

// sum / divisor, right also where a sum overflows and the quotient does not. NaN for 0 / 0.
LOGITLOSS_INLINE double quotient(const Sum& sum, const Sum& divisor) {
  if (sum.is_large() == divisor.is_large()) {
    return sum.is_large() ? sum.scaled_value() / divisor.scaled_value()
                          : sum.small_part() / divisor.small_part();
  }
  return sum.is_large() ? (sum.scaled_value() / divisor.small_part()) * up_scale
                        : (sum.small_part() / divisor.scaled_value()) * down_scale;
}

}  // namespace logitloss

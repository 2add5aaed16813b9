// A sum that neither loses digits nor overflows where its value, or a mean of it, is finite.
#pragma once

#include <cmath>

namespace logitloss {

// Terms too large to be summed as they are enter a second sum, scaled by 2^-512.
constexpr double down_scale = 0x1p-512;
constexpr double up_scale = 0x1p512;

// Knuth's two-sum: the rounding error of high + term is added to low.
inline void add_term(double& high, double& low, double term) {
  const double sum = high + term;
  const double part = sum - high;
  low += (high - (sum - part)) + (term - part);
  high = sum;
}

struct Sum {
  double high = 0.0;
  double low = 0.0;
  double large_high = 0.0;
  double large_low = 0.0;

  void add(double term) { add_term(high, low, term); }
  void add_large(double scaled_term) { add_term(large_high, large_low, scaled_term); }

  void add(const Sum& other) {
    add_term(high, low, other.high);
    low += other.low;
    add_term(large_high, large_low, other.large_high);
    large_low += other.large_low;
  }

  // A NaN counts as large.
  bool is_large() const { return large_high != 0.0; }

  double small_part() const { return high + low; }

  // The errors kept of an infinite or NaN sum mean nothing.
  double large_part() const {
    return std::isfinite(large_high) ? large_high + large_low : large_high;
  }

  double scaled_value() const { return small_part() * down_scale + large_part(); }

  double value() const { return is_large() ? scaled_value() * up_scale : small_part(); }
};

// sum / divisor, right also where a sum overflows and the quotient does not. NaN for 0 / 0.
inline double quotient(const Sum& sum, const Sum& divisor) {
  if (sum.is_large() == divisor.is_large()) {
    return sum.is_large() ? sum.scaled_value() / divisor.scaled_value()
                          : sum.small_part() / divisor.small_part();
  }
  return sum.is_large() ? (sum.scaled_value() / divisor.small_part()) * up_scale
                        : (sum.small_part() / divisor.scaled_value()) * down_scale;
}

}  // namespace logitloss

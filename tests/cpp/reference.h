// What the library is measured against: the definition in a wider type, and a distance in ulp.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>

namespace logitloss::tests {

template <class Wide>
struct Reference {
  Wide loss;
  Wide gradient;
  Wide hessian;
  // The gradient is the difference of two numbers; this is the larger of them.
  Wide gradient_term;
};

// A weight of 0 silences an infinite term, but never a NaN.
template <class Wide>
Wide weighted(Wide weight, Wide term) {
  return weight == 0 && std::isinf(term) ? Wide{0} : weight * term;
}

// The definition, term by term: softplus(z) = max(z, 0) + log1p(exp(-|z|)) and
// sigmoid(z) = 1 / (1 + exp(-z)), neither of which cancels.
template <class Wide>
Reference<Wide> reference(Wide x, Wide negative, Wide positive) {
  const Wide e = std::exp(-std::fabs(x));
  const Wide tail = std::log1p(e);
  const Wide smaller = e / (1 + e);
  const Wide larger = 1 / (1 + e);
  const bool below = std::signbit(x);
  const Wide plus = below ? tail : std::fabs(x) + tail;
  const Wide minus = below ? std::fabs(x) + tail : tail;
  const Wide up = below ? smaller : larger;
  const Wide down = below ? larger : smaller;
  const Wide total = negative + positive;
  return {weighted(negative, plus) + weighted(positive, minus), negative * up - positive * down,
          total * smaller * larger, std::max(below ? positive : negative, total * smaller)};
}

// Distance from one unit in the last place of Real to the next around `exact`. Below the
// smallest normal number, zero included, it is the smallest subnormal number.
template <class Real, class Wide>
Wide ulp_at(Wide exact) {
  using Limits = std::numeric_limits<Real>;
  int exponent = Limits::min_exponent;
  if (exact != 0) {
    std::frexp(exact, &exponent);
  }
  exponent = std::clamp(exponent, Limits::min_exponent, Limits::max_exponent);
  return std::ldexp(Wide{1}, exponent - Limits::digits);
}

// Error of `computed` in ulps of Real around `unit`; infinite where one of the two is a NaN or an
// infinity that the other is not. An exact value past the range of Real rounds to an infinity.
template <class Real, class Wide>
double error_in_ulps_of(Wide unit, Real computed, Wide exact) {
  constexpr double infinite = std::numeric_limits<double>::infinity();
  if (std::isnan(exact) || std::isnan(computed)) {
    return std::isnan(exact) && std::isnan(computed) ? 0.0 : infinite;
  }
  if (std::isinf(exact) || std::isinf(computed)) {
    return computed == static_cast<Real>(exact) ? 0.0 : infinite;
  }
  const Wide error = std::fabs(static_cast<Wide>(computed) - exact);
  return static_cast<double>(error / ulp_at<Real>(unit));
}

template <class Real, class Wide>
double error_in_ulps(Real computed, Wide exact) {
  return error_in_ulps_of<Real>(exact, computed, exact);
}

// The largest of many errors, and where it was seen. A NaN would count as larger than any other.
struct Worst {
  double error = 0.0;
  double input = 0.0;

  void see(double new_error, double new_input) {
    if (!(new_error <= error)) {
      error = new_error;
      input = new_input;
    }
  }
};

struct Limits {
  double loss;
  double gradient;
  double hessian;
};

// What is promised for hard labels is 2 ulp. These are the largest errors over all float32, rounded
// up, and no float64 is known to be worse; a coefficient that is off by a few ulp exceeds them. The
// baseline has no fused multiply-add and rounds more often.
inline Limits limits_of(std::string_view isa) {
  return isa == "baseline" ? Limits{1.99, 1.05, 1.71} : Limits{1.72, 1.03, 1.63};
}

}  // namespace logitloss::tests

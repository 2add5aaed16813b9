// Errors in ulp, for every instruction set, against the definition in a wider type.
#include <doctest/doctest.h>

#include <bit>
#include <cfloat>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "call.h"
#include "reference.h"

namespace logitloss::tests {
namespace {

constexpr std::size_t chunk = 1U << 16;
constexpr double infinite = std::numeric_limits<double>::infinity();

struct WorstOfElement {
  Worst loss;
  Worst gradient;
  Worst hessian;
};

template <class Real>
using WideOf = std::conditional_t<std::is_same_v<Real, float>, double, long double>;

// The worst errors of each instruction set.
using Worsts = std::map<std::string, WorstOfElement>;

template <class Real, class Wide>
void compare(const std::vector<Real>& logits, const Results<Real>& results,
             const std::vector<Reference<Wide>>& exact, bool relative_to_terms,
             WorstOfElement& worst) {
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const auto x = static_cast<double>(logits[i]);
    const Wide gradient_unit = relative_to_terms ? exact[i].gradient_term : exact[i].gradient;
    worst.loss.see(error_in_ulps(results.loss[i], exact[i].loss), x);
    worst.gradient.see(
        error_in_ulps_of<Real>(gradient_unit, results.gradient[i], exact[i].gradient), x);
    worst.hessian.see(error_in_ulps(results.hessian[i], exact[i].hessian), x);
  }
}

template <class Real>
void compare_all_isas(const std::vector<Real>& logits, const std::vector<Real>& targets,
                      bool relative_to_terms, Worsts& worsts) {
  using Wide = WideOf<Real>;
  std::vector<Reference<Wide>> exact;
  exact.reserve(logits.size());
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const auto y = static_cast<Wide>(targets[i]);
    exact.push_back(reference(static_cast<Wide>(logits[i]), 1 - y, y));
  }
  for (const std::string& isa : available_isas()) {
    const SelectedIsa selected(isa);
    compare(logits, evaluate(logits, targets), exact, relative_to_terms, worsts[isa]);
  }
}

template <class Real>
void compare_hard_labels(const std::vector<Real>& logits, Worsts& worsts) {
  for (const Real label : {Real{0}, Real{1}}) {
    compare_all_isas(logits, std::vector<Real>(logits.size(), label), false, worsts);
  }
}

void check(const Worsts& worsts, const std::function<Limits(const std::string&)>& limits_for) {
  for (const auto& [isa, worst] : worsts) {
    MESSAGE(isa << ": largest errors in ulp: loss " << worst.loss.error << " at "
                << worst.loss.input << ", gradient " << worst.gradient.error << " at "
                << worst.gradient.input << ", hessian " << worst.hessian.error << " at "
                << worst.hessian.input);
    CHECK(worst.loss.error <= limits_for(isa).loss);
    CHECK(worst.gradient.error <= limits_for(isa).gradient);
    CHECK(worst.hessian.error <= limits_for(isa).hessian);
  }
}

TEST_CASE("the measure of errors") {
  CHECK(error_in_ulps(1.0F, 1.0) == 0.0);
  CHECK(error_in_ulps(1.0F + FLT_EPSILON, 1.0) == 1.0);
  CHECK(error_in_ulps(1.0F, 1.0 + 0.25 * FLT_EPSILON) == 0.25);
  // Just below a power of two an ulp is half as large.
  CHECK(error_in_ulps(1.0F, 1.0 - 0.25 * FLT_EPSILON) == 0.5);
  CHECK(error_in_ulps(0x1p-149F, 0x1p-148) == 1.0);
  CHECK(error_in_ulps(0.0F, 0x1p-150) == 0.5);
  CHECK(error_in_ulps(0x1p-149F, 0.0) == 1.0);
  CHECK(error_in_ulps(0x1p-1074, 0.0L) == 1.0);
  CHECK(error_in_ulps(FLT_MAX, static_cast<double>(FLT_MAX)) == 0.0);
  CHECK(error_in_ulps(std::numeric_limits<float>::infinity(), 1e39) == 0.0);
  CHECK(error_in_ulps(FLT_MAX, infinite) == infinite);
  CHECK(error_in_ulps(std::numeric_limits<float>::infinity(), 1.0) == infinite);
  CHECK(error_in_ulps(std::numeric_limits<float>::quiet_NaN(), 1.0) == infinite);
  CHECK(error_in_ulps(1.0F, std::numeric_limits<double>::quiet_NaN()) == infinite);
}

TEST_CASE("float32: a sweep over all bit patterns, hard labels") {
  // A prime, so that every combination of low bits is met.
  constexpr std::uint64_t stride = 1021;
  Worsts worsts;
  std::vector<float> logits;
  for (std::uint64_t bits = 0; bits <= 0xFFFFFFFFU; bits += stride) {
    logits.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(bits)));
    if (logits.size() == chunk) {
      compare_hard_labels(logits, worsts);
      logits.clear();
    }
  }
  compare_hard_labels(logits, worsts);
  check(worsts, limits_of);
}

// Every exponent, and far more numbers where results are not yet constant; then results around
// the smallest normal and subnormal numbers.
std::vector<double> spread_doubles() {
  Random random(3);
  std::vector<double> logits;
  const auto add = [&](std::uint64_t exponent) {
    const std::uint64_t bits = random.bits();
    const std::uint64_t sign_and_mantissa = bits & 0x800FFFFFFFFFFFFFU;
    logits.push_back(std::bit_cast<double>(sign_and_mantissa | exponent << 52));
  };
  for (std::uint64_t exponent = 0; exponent <= 2047; ++exponent) {
    const bool is_interesting = exponent > 1023 - 56 && exponent < 1023 + 10;
    for (int k = 0; k < (is_interesting ? 20000 : 16); ++k) {
      add(exponent);
    }
  }
  for (int k = 0; k < 200000; ++k) {
    const double x = 700.0 + 50.0 * static_cast<double>(random.bits() >> 11) * 0x1p-53;
    logits.push_back(k % 2 == 0 ? x : -x);
  }
  // The worst that searches have found, for these coefficients or earlier ones.
  for (const double x :
       {0x1.2aa26fc17da10p-6, 0x1.e2532fe206201p-11, 0x1.9db9269b139a1p+7, 0x1.51b85c91d0931p+1,
        0x1.52327e883f46fp+1, 0x1.07f326a611400p-12, 0x1.078be7db94c3fp+9, 0x1.525b7ea1726ddp+1}) {
    logits.push_back(x);
    logits.push_back(-x);
  }
  return logits;
}

TEST_CASE("float64: every exponent, random mantissas, hard labels") {
  if (LDBL_MANT_DIG < 64) {
    MESSAGE("skipped: long double is no wider than double here");
    return;
  }
  const std::vector<double> all = spread_doubles();
  Worsts worsts;
  for (std::size_t first = 0; first < all.size(); first += chunk) {
    const auto begin = all.begin() + static_cast<std::ptrdiff_t>(first);
    const auto count = static_cast<std::ptrdiff_t>(std::min(chunk, all.size() - first));
    compare_hard_labels(std::vector<double>(begin, begin + count), worsts);
  }
  check(worsts, limits_of);
}

// A soft target's gradient is the difference of two terms and may cancel; its error is
// measured in ulps of the larger one.
template <class Real>
void check_soft_targets() {
  constexpr std::size_t count = 1U << 19;
  Random random(5);
  Worsts worsts;
  std::vector<Real> logits(count);
  std::vector<Real> targets(count);
  for (std::size_t i = 0; i < count; ++i) {
    const double size = i % 2 == 0 ? 3.0 : 110.0;
    const auto fraction = static_cast<double>(random.bits() >> 11) * 0x1p-53;
    logits[i] = static_cast<Real>(size * (2.0 * fraction - 1.0));
    targets[i] = static_cast<Real>(static_cast<double>(random.bits() >> 11) * 0x1p-53);
    if (i % 8 == 0) {
      // Tiny targets, whose complements round to 1.
      targets[i] = std::ldexp(targets[i], -static_cast<int>(random.below(60)));
    }
  }
  compare_all_isas(logits, targets, true, worsts);
  check(worsts, [](const std::string&) { return Limits{3.0, 3.0, 3.0}; });
}

TEST_CASE("soft targets, relative to the terms") {
  check_soft_targets<float>();
  if (LDBL_MANT_DIG >= 64) {
    check_soft_targets<double>();
  }
}

// The two weights of an element take five more roundings.
TEST_CASE("float32: weights, class weights and smoothing, relative to the terms") {
  constexpr std::size_t count = 1U << 18;
  constexpr double smoothing = 0.125;
  Random random(6);
  std::vector<float> logits(count);
  std::vector<float> targets(count);
  std::vector<float> weight(count);
  std::vector<float> pos_weight(count);
  std::vector<Reference<double>> exact;
  for (std::size_t i = 0; i < count; ++i) {
    logits[i] = 60.0F * random.fraction() - 30.0F;
    targets[i] = random.fraction();
    weight[i] = 8.0F * random.fraction();
    pos_weight[i] = 8.0F * random.fraction();
    const double y = targets[i];
    const double w = weight[i];
    exact.push_back(reference<double>(
        logits[i], w * ((1.0 - y) * (1.0 - smoothing) + smoothing / 2.0),
        w * static_cast<double>(pos_weight[i]) * (y * (1.0 - smoothing) + smoothing / 2.0)));
  }
  logitloss_bce_request options = request_for({});
  options.weight = input(weight.data());
  options.pos_weight = input(pos_weight.data());
  options.label_smoothing = smoothing;
  Worsts worsts;
  for (const std::string& isa : available_isas()) {
    const SelectedIsa selected(isa);
    compare(logits, evaluate(logits, targets, &options), exact, true, worsts[isa]);
  }
  check(worsts, [](const std::string&) { return Limits{5.0, 5.0, 5.0}; });
}

}  // namespace
}  // namespace logitloss::tests

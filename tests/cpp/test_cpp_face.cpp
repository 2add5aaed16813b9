// logitloss.hpp: spans in, exceptions out.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <logitloss/logitloss.hpp>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "call.h"
#include "reference.h"

namespace logitloss::tests {
namespace {

template <class Real>
std::span<const Real> view(const std::vector<Real>& values) {
  return values;
}

template <class Real>
double call(const std::vector<Real>& logits, const std::vector<std::int8_t>& targets,
            const Options& options = {}, std::span<Real> gradient = {},
            std::span<Real> hessian = {}) {
  return bce_with_logits(view(logits), view(targets), options, gradient, hessian);
}

TEST_CASE_TEMPLATE("values of each reduction", Real, float, double) {
  const std::vector<Real> logits = {-2, 0, Real{3.5}, 10};
  const std::vector<std::int8_t> targets = {0, 1, 1, 0};
  double sum = 0.0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const auto y = static_cast<double>(targets[i]);
    sum += reference<double>(static_cast<double>(logits[i]), 1.0 - y, y).loss;
  }
  const double tolerance = 4.0 * static_cast<double>(std::numeric_limits<Real>::epsilon());
  Options options;
  CHECK(call(logits, targets, options) == doctest::Approx(sum / 4.0).epsilon(tolerance));
  options.reduction = LOGITLOSS_SUM;
  CHECK(call(logits, targets, options) == doctest::Approx(sum).epsilon(tolerance));
  options.weight = 0.5;
  CHECK(call(logits, targets, options) == doctest::Approx(sum / 2.0).epsilon(tolerance));
  options.reduction = LOGITLOSS_WEIGHTED_MEAN;
  CHECK(call(logits, targets, options) == doctest::Approx(sum / 4.0).epsilon(tolerance));
}

TEST_CASE("options reach the formula") {
  const std::vector<double> logits = {1.5};
  const std::vector<std::int8_t> targets = {1};
  Options options;
  options.weight = 3.0;
  options.pos_weight = 0.25;
  options.label_smoothing = 0.5;
  const double exact = reference<double>(1.5, 3.0 * 0.25, 3.0 * 0.25 * 0.75).loss;
  CHECK(call(logits, targets, options) == doctest::Approx(exact).epsilon(1e-14));
}

TEST_CASE_TEMPLATE("gradient and hessian, also in place", Real, float, double) {
  const std::vector<Real> logits = ordinary_logits<Real>(5000);
  std::vector<std::int8_t> targets(logits.size());
  for (std::size_t i = 0; i < targets.size(); ++i) {
    targets[i] = static_cast<std::int8_t>(i % 3 == 0);
  }
  Options options;
  options.reduction = LOGITLOSS_SUM;
  std::vector<Real> gradient(logits.size());
  std::vector<Real> hessian(logits.size());
  const double value = call<Real>(logits, targets, options, gradient, hessian);
  const Results<Real> expected = evaluate(logits, targets);
  CHECK(same_bits(gradient, expected.gradient));
  CHECK(same_bits(hessian, expected.hessian));

  std::vector<Real> in_place = logits;
  CHECK(call<Real>(in_place, targets, options, in_place) == value);
  CHECK(same_bits(in_place, gradient));
}

TEST_CASE("targets of every type that dtype_of knows") {
  const std::vector<float> logits = {-1.0F, 2.0F};
  const double expected = call(logits, {0, 1});
  const auto of = [&](auto zero, auto one) {
    const std::array targets = {zero, one};
    return bce_with_logits(view(logits), std::span<const decltype(zero)>(targets));
  };
  CHECK(of(false, true) == expected);
  CHECK(of(std::uint8_t{0}, std::uint8_t{1}) == expected);
  CHECK(of(std::int16_t{0}, std::int16_t{1}) == expected);
  CHECK(of(std::uint16_t{0}, std::uint16_t{1}) == expected);
  CHECK(of(std::int32_t{0}, std::int32_t{1}) == expected);
  CHECK(of(std::uint32_t{0}, std::uint32_t{1}) == expected);
  CHECK(of(std::int64_t{0}, std::int64_t{1}) == expected);
  CHECK(of(std::uint64_t{0}, std::uint64_t{1}) == expected);
  CHECK(of(0LL, 1LL) == expected);
  CHECK(of(0.0F, 1.0F) == expected);
  CHECK(of(0.0, 1.0) == expected);
}

TEST_CASE("a bad target is an InvalidTarget that names it") {
  const std::vector<float> logits(5, 1.0F);
  const std::vector<std::int8_t> targets = {0, 1, 1, 2, -1};
  try {
    call(logits, targets);
    FAIL("nothing was thrown");
  } catch (const InvalidTarget& error) {
    CHECK(error.index() == 3);
    CHECK(std::string(error.what()).find("target 3 is 2") != std::string::npos);
  }
  Options options;
  options.validate = false;
  CHECK_NOTHROW(call(logits, targets, options));
}

TEST_CASE("ignore_index") {
  const std::vector<float> logits = {1.0F, std::numeric_limits<float>::quiet_NaN(), 2.0F};
  Options options;
  options.ignore_index = -1.0;
  const double expected = call<float>({1.0F, 2.0F}, {0, 1});
  CHECK(call(logits, {0, -1, 1}, options) == expected);
}

TEST_CASE("bad arguments are std::invalid_argument") {
  const std::vector<float> logits(3, 1.0F);
  const std::vector<std::int8_t> targets(3, 0);
  std::vector<float> too_short(2);
  CHECK_THROWS_AS(call(logits, {0, 1}), std::invalid_argument);
  CHECK_THROWS_AS(call<float>(logits, targets, {}, too_short), std::invalid_argument);
  CHECK_THROWS_AS(call<float>(logits, targets, {}, {}, too_short), std::invalid_argument);
  Options options;
  options.reduction = LOGITLOSS_NONE;
  CHECK_THROWS_AS(call(logits, targets, options), std::invalid_argument);
  options = {};
  options.label_smoothing = 1.0;
  CHECK_THROWS_AS(call(logits, targets, options), std::invalid_argument);
  options = {};
  options.num_threads = -1;
  CHECK_THROWS_AS(call(logits, targets, options), std::invalid_argument);
}

TEST_CASE("empty spans") {
  const std::vector<double> none;
  CHECK(std::isnan(call(none, {})));
  Options options;
  options.reduction = LOGITLOSS_SUM;
  CHECK(call(none, {}, options) == 0.0);
}

}  // namespace
}  // namespace logitloss::tests

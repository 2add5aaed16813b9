// Reduced values: at most 2 ulp of the logits' type from the sum of what they stand for.
#include <doctest/doctest.h>

#include <algorithm>
#include <cfloat>
#include <cstdint>
#include <functional>
#include <limits>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "call.h"
#include "reference.h"

namespace logitloss::tests {
namespace {

constexpr double limit = 2.0;

// Neumaier's sum: the rounding errors of a long double sum are themselves summed.
class ExactSum {
 public:
  void add(long double term) {
    const long double sum = high_ + term;
    const bool term_is_smaller = std::fabs(high_) >= std::fabs(term);
    low_ += term_is_smaller ? (high_ - sum) + term : (term - sum) + high_;
    high_ = sum;
  }
  long double value() const { return high_ + low_; }

 private:
  long double high_ = 0.0L;
  long double low_ = 0.0L;
};

long double loss_for_zero(long double x) { return reference<long double>(x, 1, 0).loss; }

template <class Real>
double reduce(const std::vector<Real>& logits, logitloss_reduction reduction) {
  const auto length = static_cast<std::int64_t>(logits.size());
  const std::int8_t target = 0;
  const std::ptrdiff_t repeat = 0;
  double value = -1.0;
  logitloss_bce_request request = request_for({});
  request.ndim = 1;
  request.shape = &length;
  request.logits = input(logits.data());
  request.targets = input(&target, &repeat);
  request.reduction = reduction;
  request.value = output(&value);
  run(request);
  return value;
}

// What a sum of losses should be, and what an ulp of it is: the precision of Real at each term,
// which is coarser than its relative precision where a term is subnormal.
template <class Real>
class Expected {
 public:
  void add(Real logit) {
    using Limits = std::numeric_limits<Real>;
    const long double loss = loss_for_zero(logit);
    sum_.add(loss);
    unit_ += std::max(loss * static_cast<long double>(Limits::epsilon()),
                      static_cast<long double>(Limits::denorm_min()));
  }

  double error_of(double value, long double divisor = 1.0L) const {
    const long double error = std::fabs(static_cast<long double>(value) * divisor - sum_.value());
    return static_cast<double>(error / unit_);
  }

 private:
  ExactSum sum_;
  long double unit_ = 0.0L;
};

template <class Real>
void check_sum_and_mean(const std::vector<Real>& logits) {
  Expected<Real> expected;
  for (const Real x : logits) {
    expected.add(x);
  }
  const auto count = static_cast<long double>(logits.size());
  for (const std::string& isa : available_isas()) {
    CAPTURE(isa);
    const SelectedIsa selected(isa);
    CHECK(expected.error_of(reduce(logits, LOGITLOSS_SUM)) <= limit);
    CHECK(expected.error_of(reduce(logits, LOGITLOSS_MEAN), count) <= limit);
  }
}

TEST_CASE_TEMPLATE("many equal terms, as one repeated element", Real, float, double) {
  constexpr std::int64_t length = std::int64_t{1} << 24;
  const std::ptrdiff_t repeat = 0;
  const auto x = static_cast<Real>(0.3);
  const std::int8_t target = 0;
  double value = -1.0;
  Expected<Real> expected;
  expected.add(x);
  logitloss_bce_request request = request_for({});
  request.ndim = 1;
  request.shape = &length;
  request.logits = input(&x, &repeat);
  request.targets = input(&target, &repeat);
  request.value = output(&value);
  for (const std::string& isa : available_isas()) {
    CAPTURE(isa);
    const SelectedIsa selected(isa);
    request.reduction = LOGITLOSS_SUM;
    run(request);
    CHECK(expected.error_of(value, 1.0L / length) <= limit);
    request.reduction = LOGITLOSS_MEAN;
    run(request);
    CHECK(expected.error_of(value) <= limit);
  }
}

TEST_CASE_TEMPLATE("alternating magnitudes", Real, float, double) {
  std::vector<Real> logits((1U << 20) + 77);
  for (std::size_t i = 0; i < logits.size(); ++i) {
    logits[i] = i % 2 == 0 ? static_cast<Real>(1e20) : static_cast<Real>(1e-3);
  }
  check_sum_and_mean(logits);
  // One large term before a great many small ones, none of which would move it.
  for (std::size_t i = 0; i < logits.size(); ++i) {
    logits[i] = i == 0 ? static_cast<Real>(1 / std::numeric_limits<Real>::epsilon()) : Real{-1};
  }
  check_sum_and_mean(logits);
}

TEST_CASE_TEMPLATE("subnormal terms beside huge ones", Real, float, double) {
  using Limits = std::numeric_limits<Real>;
  const auto subnormal_loss = static_cast<Real>(std::log(Limits::min()) - Real{4});
  std::vector<Real> logits(100003, subnormal_loss);
  check_sum_and_mean(logits);
  logits[50000] = Limits::max() / 4;
  check_sum_and_mean(logits);
}

TEST_CASE("a mean near the largest double, though its sum overflows") {
  std::vector<double> logits(100003, DBL_MAX);
  for (const std::string& isa : available_isas()) {
    CAPTURE(isa);
    const SelectedIsa selected(isa);
    CHECK(reduce(logits, LOGITLOSS_MEAN) == DBL_MAX);
    CHECK(reduce(logits, LOGITLOSS_SUM) == std::numeric_limits<double>::infinity());
  }
  for (std::size_t i = 0; i < logits.size(); ++i) {
    logits[i] = i % 3 == 0 ? DBL_MAX / 2 : (i % 3 == 1 ? 0x1p-30 : DBL_MAX);
  }
  Expected<double> expected;
  for (const double x : logits) {
    expected.add(x);
  }
  for (const std::string& isa : available_isas()) {
    CAPTURE(isa);
    const SelectedIsa selected(isa);
    const double mean = reduce(logits, LOGITLOSS_MEAN);
    CHECK(expected.error_of(mean, static_cast<long double>(logits.size())) <= limit);
  }
}

TEST_CASE("a sum of float32 losses past the range of float32") {
  check_sum_and_mean(std::vector<float>(1000, FLT_MAX));
}

// Each of these shapes and axes is walked and summed in another way.
struct Case {
  std::vector<std::int64_t> shape;
  std::uint64_t axes;
};

std::size_t product(const std::vector<std::int64_t>& lengths) {
  return static_cast<std::size_t>(
      std::accumulate(lengths.begin(), lengths.end(), std::int64_t{1}, std::multiplies<>()));
}

// For each element in C order, the index of the output that it is summed into.
std::vector<std::size_t> outputs_of_elements(const Case& sums) {
  std::vector<std::size_t> result(product(sums.shape));
  for (std::size_t i = 0; i < result.size(); ++i) {
    std::size_t rest = i;
    std::size_t step = 1;
    for (std::size_t k = sums.shape.size(); k-- > 0;) {
      const auto length = static_cast<std::size_t>(sums.shape[k]);
      if ((sums.axes >> k & 1U) == 0) {
        result[i] += rest % length * step;
        step *= length;
      }
      rest /= length;
    }
  }
  return result;
}

// Ordinary losses, with one in seven far above the rest.
template <class Real>
std::vector<Real> uneven_logits(std::size_t count) {
  std::vector<Real> logits = ordinary_logits<Real>(count);
  for (std::size_t i = 0; i < count; i += 7) {
    logits[i] *= static_cast<Real>(1e15);
  }
  return logits;
}

template <class Real>
void check_axes(const Case& sums) {
  const std::vector<Real> logits = uneven_logits<Real>(product(sums.shape));
  const std::vector<std::size_t> output_of = outputs_of_elements(sums);
  std::vector<Expected<Real>> expected(output_of.back() + 1);
  for (std::size_t i = 0; i < logits.size(); ++i) {
    expected[output_of[i]].add(logits[i]);
  }
  const std::int8_t target = 0;
  const std::vector<std::ptrdiff_t> repeat(sums.shape.size(), 0);
  std::vector<double> values(expected.size());
  logitloss_bce_request request = request_for(sums.shape);
  request.logits = input(logits.data());
  request.targets = input(&target, repeat.data());
  request.reduction = LOGITLOSS_SUM;
  request.reduced_axes = sums.axes;
  request.value = output(values.data());
  for (const std::string& isa : available_isas()) {
    CAPTURE(isa);
    const SelectedIsa selected(isa);
    run(request);
    double worst = 0.0;
    for (std::size_t k = 0; k < values.size(); ++k) {
      worst = std::max(worst, expected[k].error_of(values[k]));
    }
    CHECK(worst <= limit);
  }
}

TEST_CASE_TEMPLATE("sums over axes", Real, float, double) {
  const std::vector<Case> cases = {
      {{7, 40000}, 0b10},      {{40000, 7}, 0b10},       {{40000, 7}, 0b01},
      {{300, 700}, 0b01},      {{300, 700}, 0b10},       {{3, 50, 600}, 0b101},
      {{3, 50, 600}, 0b010},   {{17, 5, 3, 31}, 0b1010}, {{17, 5, 3, 31}, 0b0101},
      {{1, 600000, 1}, 0b010}, {{20000, 1, 9}, 0b011},   {{9, 20000}, 0b00},
  };
  for (const Case& sums : cases) {
    CAPTURE(sums.shape.size());
    CAPTURE(sums.shape[0]);
    CAPTURE(sums.axes);
    check_axes<Real>(sums);
  }
}

}  // namespace
}  // namespace logitloss::tests

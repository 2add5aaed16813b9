// Zeros, infinities, NaNs and the ends of the range, for every instruction set.
#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include "call.h"
#include "reference.h"

namespace logitloss::tests {
namespace {

template <class Real>
struct Row {
  Real x;
  Real y;
  Real loss;
  Real gradient;
  Real hessian;
};

template <class Real>
struct Single {
  Real loss;
  Real gradient;
  Real hessian;
};

template <class Real>
Single<Real> evaluate_one(Real x, Real y, const Real* weight = nullptr) {
  logitloss_bce_request options = request_for({});
  if (weight != nullptr) {
    options.weight = input(weight);
  }
  const Results<Real> results = evaluate(std::vector<Real>{x}, std::vector<Real>{y}, &options);
  return {results.loss[0], results.gradient[0], results.hessian[0]};
}

template <class Real>
bool same_bits(Real a, Real b) {
  using Bits = std::conditional_t<sizeof(Real) == 4, std::uint32_t, std::uint64_t>;
  return std::bit_cast<Bits>(a) == std::bit_cast<Bits>(b);
}

constexpr double ln_2 = 0x1.62e42fefa39efp-1;

TEST_CASE_TEMPLATE("the table of special values", Real, float, double) {
  using Limits = std::numeric_limits<Real>;
  constexpr Real inf = Limits::infinity();
  constexpr Real max = Limits::max();
  constexpr Real tiny = Limits::denorm_min();
  constexpr Real y = Real{0.375};
  constexpr auto half = Real{0.5};
  constexpr auto quarter = Real{0.25};
  constexpr auto log_2 = static_cast<Real>(ln_2);
  const std::vector<Row<Real>> rows = {
      {inf, 0, inf, 1, 0},
      {inf, 1, 0, 0, 0},
      {inf, y, inf, 1 - y, 0},
      {-inf, 0, 0, 0, 0},
      {-inf, 1, inf, -1, 0},
      {-inf, y, inf, -y, 0},
      {max, 0, max, 1, 0},
      {max, 1, 0, 0, 0},
      {-max, 0, 0, 0, 0},
      {-max, 1, max, -1, 0},
      {Real{0}, 0, log_2, half, quarter},
      {Real{0}, 1, log_2, -half, quarter},
      {Real{0}, y, log_2, half - y, quarter},
      {-Real{0}, 0, log_2, half, quarter},
      {-Real{0}, 1, log_2, -half, quarter},
      {-Real{0}, y, log_2, half - y, quarter},
      {tiny, 0, log_2, half, quarter},
      {tiny, 1, log_2, -half, quarter},
      {-tiny, 0, log_2, half, quarter},
      {-tiny, 1, log_2, -half, quarter},
  };
  for (const std::string& isa : available_isas()) {
    const SelectedIsa selected(isa);
    for (const Row<Real>& row : rows) {
      INFO(isa, ": x = ", row.x, ", y = ", row.y);
      const Single<Real> got = evaluate_one(row.x, row.y);
      CHECK(got.loss == row.loss);
      CHECK(got.gradient == row.gradient);
      CHECK(got.hessian == row.hessian);
      // A loss or hessian of zero is a plain zero.
      CHECK_FALSE(std::signbit(got.loss));
      CHECK_FALSE(std::signbit(got.hessian));
    }
  }
}

TEST_CASE_TEMPLATE("a NaN logit gives NaN everywhere", Real, float, double) {
  for (const std::string& isa : available_isas()) {
    const SelectedIsa selected(isa);
    for (const Real x :
         {std::numeric_limits<Real>::quiet_NaN(), -std::numeric_limits<Real>::quiet_NaN()}) {
      for (const Real y : {Real{0}, Real{1}, Real{0.5}}) {
        const Real zero{0};
        for (const Real* weight : {static_cast<const Real*>(nullptr), &zero}) {
          CAPTURE(isa);
          const Single<Real> got = evaluate_one(x, y, weight);
          CHECK(std::isnan(got.loss));
          CHECK(std::isnan(got.gradient));
          CHECK(std::isnan(got.hessian));
        }
      }
    }
  }
}

TEST_CASE_TEMPLATE("a weight of zero gives zero, also at an infinite logit", Real, float, double) {
  constexpr Real inf = std::numeric_limits<Real>::infinity();
  const Real zero{0};
  for (const std::string& isa : available_isas()) {
    const SelectedIsa selected(isa);
    for (const Real x : {inf, -inf, Real{3}, -std::numeric_limits<Real>::max()}) {
      for (const Real y : {Real{0}, Real{1}, Real{0.5}}) {
        INFO(isa, ": x = ", x, ", y = ", y);
        const Single<Real> got = evaluate_one(x, y, &zero);
        CHECK(got.loss == 0);
        CHECK(got.gradient == 0);
        CHECK(got.hessian == 0);
      }
    }
  }
}

TEST_CASE_TEMPLATE("a missing element is zero, whatever it holds", Real, float, double) {
  constexpr Real nan = std::numeric_limits<Real>::quiet_NaN();
  const std::vector<Real> logits = {nan, std::numeric_limits<Real>::infinity(), 2};
  const std::vector<Real> targets = {1, nan, -7};
  const std::vector<Real> weight = {nan, 1, nan};
  const bool where = false;
  const std::ptrdiff_t repeat = 0;
  for (const std::string& isa : available_isas()) {
    const SelectedIsa selected(isa);
    logitloss_bce_request options = request_for({});
    options.weight = input(weight.data());
    options.where = input(&where, &repeat);
    const Results<Real> got = evaluate(logits, targets, &options);
    const std::vector<Real> zeros(3, Real{0});
    CHECK(got.loss == zeros);
    CHECK(got.gradient == zeros);
    CHECK(got.hessian == zeros);
  }
}

template <class Real>
std::vector<Real> numbers_of_every_exponent() {
  using Bits = std::conditional_t<sizeof(Real) == 4, std::uint32_t, std::uint64_t>;
  constexpr int mantissa_bits = std::numeric_limits<Real>::digits - 1;
  constexpr Bits exponents = Bits{1} << (8 * sizeof(Real) - 1 - mantissa_bits);
  Random random(11);
  std::vector<Real> numbers;
  for (Bits exponent = 0; exponent < exponents; ++exponent) {
    for (int k = 0; k < 8; ++k) {
      const Bits mantissa = static_cast<Bits>(random.bits()) & ((Bits{1} << mantissa_bits) - 1);
      const Real x = std::bit_cast<Real>(exponent << mantissa_bits | mantissa);
      // A NaN's sign and payload are nobody's promise.
      numbers.push_back(std::isnan(x) ? std::numeric_limits<Real>::infinity() : x);
    }
  }
  return numbers;
}

TEST_CASE_TEMPLATE("l(x, 1) = l(-x, 0) and g(x, 1) = -g(-x, 0), bit for bit", Real, float, double) {
  const std::vector<Real> logits = numbers_of_every_exponent<Real>();
  std::vector<Real> mirrored;
  for (const Real x : logits) {
    mirrored.push_back(-x);
  }
  const std::vector<Real> zeros(logits.size(), Real{0});
  const std::vector<Real> ones(logits.size(), Real{1});
  for (const std::string& isa : available_isas()) {
    CAPTURE(isa);
    const SelectedIsa selected(isa);
    for (const auto& [x, minus_x] : {std::pair{logits, mirrored}, std::pair{mirrored, logits}}) {
      const Results<Real> positive = evaluate(x, ones);
      const Results<Real> negative = evaluate(minus_x, zeros);
      CHECK(tests::same_bits(positive.loss, negative.loss));
      CHECK(tests::same_bits(positive.hessian, negative.hessian));
      std::size_t differing = 0;
      for (std::size_t i = 0; i < x.size(); ++i) {
        differing += same_bits(positive.gradient[i], -negative.gradient[i]) ? 0U : 1U;
      }
      CHECK(differing == 0);
    }
  }
}

TEST_CASE_TEMPLATE("results go down to the smallest subnormal number", Real, float, double) {
  using Limits = std::numeric_limits<Real>;
  // exp(-x) is 1.5 times the smallest subnormal number, and rounds to one or two of them.
  const auto x =
      static_cast<Real>(-std::log(1.5L * static_cast<long double>(Limits::denorm_min())));
  for (const std::string& isa : available_isas()) {
    CAPTURE(isa);
    const SelectedIsa selected(isa);
    const Single<Real> got = evaluate_one(-x, Real{0});
    for (const Real result : {got.loss, got.gradient, got.hessian}) {
      CHECK(result > 0);
      CHECK(result <= 2 * Limits::denorm_min());
    }
  }
}

}  // namespace
}  // namespace logitloss::tests

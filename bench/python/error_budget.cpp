// The error of each step of the mathematics, in ulp, measured on the library's own headers.
//
// Usage: error_budget float|double STRIDE
//
// Magnitudes a = |x| are taken evenly over bit patterns, one in STRIDE of all: for float from 0 to
// where exp(-a) is 0, for double from 2^-60 to there. The reference is computed in the next wider
// type, double or long double, whose functions are good to 2^-28 ulp of float and 2^-10 of double.
// Prints a line `step largest input` for each step; the largest is in ulp of the step's result
// unless said. `own` steps are held against what they were given, the rest against the definition
// in a.

#include <algorithm>
#include <bit>
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <map>
#include <string>

#include "losses/binary_cross_entropy.h"

namespace logitloss {
namespace {

template <class Real>
struct Wider;

template <>
struct Wider<float> {
  using Type = double;
  static constexpr double ln2_high = 0x1.62e42fefa39efp-1;
  static constexpr double ln2_low = 0x1.abc9e3b39803fp-56;
  static constexpr float smallest = 0.0F;
};

template <>
struct Wider<double> {
  using Type = long double;
  static constexpr long double ln2_high = 0xB.17217F7D1CF79ABp-4L;
  static constexpr long double ln2_low = 0xC.9E3B39803F2F6AFp-68L;
  static constexpr double smallest = 0x1p-60;
};

template <class Real, class Wide>
Wide ulp_at(Wide exact) {
  using Limits = std::numeric_limits<Real>;
  const int exponent = exact == 0 ? Limits::min_exponent : std::ilogb(exact) + 1;
  return std::ldexp(Wide{1}, std::max(exponent, Limits::min_exponent) - Limits::digits);
}

struct Worst {
  double error = 0.0;
  double input = 0.0;
};

template <class Real>
struct Results {
  Real loss;
  Real gradient;
  Real hessian;
};

// The results at the positive logit a, where `opposed` is the weight of the negative label.
template <class Real>
Results<Real> evaluate(Pair<Real> e, Real a, Real opposed) {
  const Real t = sigmoid_from(e);
  return {BinaryCrossEntropy::loss(a, opposed, Real{1}, e),
          magnitude(BinaryCrossEntropy::gradient(a, opposed, Real{1}, t)),
          BinaryCrossEntropy::hessian(Real{1}, t)};
}

template <class Real>
class Budget {
  using C = Constants<Real>;
  using Wide = typename Wider<Real>::Type;

 public:
  void see_all(std::uint64_t stride) {
    const std::uint64_t last = bits_of(-C::exp_flush);
    for (std::uint64_t bits = bits_of(Wider<Real>::smallest); bits <= last; bits += stride) {
      see_element(from_bits<Real>(static_cast<typename Bits<Real>::Unsigned>(bits)));
      ++count_;
    }
  }

  void print() const {
    std::printf("count\t%llu\t0\n", static_cast<unsigned long long>(count_));
    for (const auto& [step, worst] : worst_) {
      std::printf("%s\t%.17g\t%.17g\n", step, worst.error, worst.input);
    }
  }

 private:
  // Names are literals, so that their addresses tell them apart.
  void see(const char* step, Wide error) {
    Worst& worst = worst_[step];
    if (!(static_cast<double>(error) <= worst.error)) {
      worst = {static_cast<double>(error), static_cast<double>(a_)};
    }
  }

  static bool is_normal(Wide exact) {
    return exact >= static_cast<Wide>(std::numeric_limits<Real>::min());
  }

  void see_result(const char* step, Real computed, Wide exact) {
    see(step, std::fabs(static_cast<Wide>(computed) - exact) / ulp_at<Real>(exact));
  }

  // Subnormal results have a row of their own, or none.
  void see_result(const char* normal, const char* subnormal, Real computed, Wide exact) {
    if (is_normal(exact)) {
      see_result(normal, computed, exact);
    } else if (subnormal != nullptr) {
      see_result(subnormal, computed, exact);
    }
  }

  void see_element(Real a) {
    a_ = a;
    const Pair<Real> e = exp_of(-a);
    see_exponential(a, e);
    const Wide exact_e = std::exp(-static_cast<Wide>(a));
    const Wide exact_t = exact_e / (1 + exact_e);
    const Wide exact_tail = std::log1p(exact_e);
    const Wide exact_complement = 1 / (1 + exact_e);
    if (e.high >= std::numeric_limits<Real>::min()) {
      see_own(e);
    }
    const Results<Real> right = evaluate(e, a, Real{0});
    const Results<Real> wrong = evaluate(e, a, Real{1});
    see_result("log1p", "log1p, subnormal", right.loss, exact_tail);
    see_result("t", "t, subnormal", right.gradient, exact_t);
    see_result("hessian", "hessian, subnormal", right.hessian, exact_t * exact_complement);
    see_result("loss", wrong.loss, static_cast<Wide>(a) + exact_tail);
    see_result("1 - t", wrong.gradient, exact_complement);
    const auto t = static_cast<Wide>(right.gradient);
    see_result("hessian, own", nullptr, right.hessian, t * (1 - t));
    see_result("1 - t, own", wrong.gradient, 1 - t);
    see_result("loss, own", wrong.loss, static_cast<Wide>(a) + static_cast<Wide>(right.loss));
    see_without_low({e.high, Real{0}}, a, exact_tail, exact_t);
  }

  // What the error would be if e were one rounded number.
  void see_without_low(Pair<Real> e, Real a, Wide exact_tail, Wide exact_t) {
    const Real tail = log1p_of(e);
    const Real t = sigmoid_from(e);
    see_result("log1p, low dropped", nullptr, tail, exact_tail);
    see_result("t, low dropped", nullptr, t, exact_t);
    see_result("loss, low dropped", a + tail, static_cast<Wide>(a) + exact_tail);
  }

  // The text of exp_of, line by line, checked against it.
  void see_exponential(Real a, Pair<Real> e) {
    const Real shifted = multiply_add(a, -C::log2_e, C::shifter);
    const Real n = shifted - C::shifter;
    const Real exact_part = multiply_add(n, -C::ln2_high, -a);
    const Real r = multiply_add(n, -C::ln2_low, exact_part);
    const Real s = multiply_add(r * r, horner<C::exp_tail>(r), r);
    const Real raised = from_bits<Real>(bits_of(shifted) << Bits<Real>::mantissa_bits);
    const Real scale = raised * C::two_to_minus_64;
    const Real high = multiply_add(s, scale, scale);
    const Real low = multiply_add(s, scale, scale - high);
    if (a < -C::exp_flush && (e.high != high || e.low != low)) {
      std::fputs("the steps of exp_of are not those of the library\n", stderr);
      std::exit(1);
    }
    const auto wide_n = static_cast<Wide>(n);
    const Wide rest =
        (Wider<Real>::ln2_high - static_cast<Wide>(C::ln2_high)) + Wider<Real>::ln2_low;
    const Wide exact_sum = -static_cast<Wide>(a) - wide_n * static_cast<Wide>(C::ln2_high);
    const Wide exact_r = exact_sum - wide_n * rest;
    const Wide exact_exp = std::exp(exact_r);
    const Wide unit = ulp_at<Real>(exact_exp);
    see("|r|, absolute", std::fabs(static_cast<Wide>(r)));
    see("exact part of r, absolute", std::fabs(static_cast<Wide>(exact_part) - exact_sum));
    see("r, in ulp of e", std::fabs(static_cast<Wide>(r) - exact_r) * exact_exp / unit);
    const Wide wide_r = static_cast<Wide>(r);
    see("s, own, in ulp of e", std::fabs(static_cast<Wide>(s) - std::expm1(wide_r)) / unit);
    see("e in two parts", std::fabs(static_cast<Wide>(s) - std::expm1(exact_r)) / unit);
    const auto wide_scale = static_cast<Wide>(scale);
    if (is_normal(static_cast<Wide>(low))) {
      see("high + low - (1 + s), absolute",
          std::fabs((static_cast<Wide>(high) - wide_scale) + static_cast<Wide>(low) -
                    static_cast<Wide>(s) * wide_scale));
    }
    see_result("e, normal", "e, subnormal", e.high, std::exp(-static_cast<Wide>(a)));
  }

  // What the functions of e add to the error of what they are given.
  void see_own(Pair<Real> e) {
    const auto high = static_cast<Wide>(e.high);
    const Wide sum = high + static_cast<Wide>(e.low);
    const Real r = approximate_reciprocal(e.high);
    see("reciprocal, relative", std::fabs(static_cast<Wide>(r) * (1 + high) - 1));
    see_result("log1p, own", log1p_of(e), std::log1p(sum));
    see_result("t, own", sigmoid_from(e), sum / (1 + sum));
  }

  Real a_ = 0;
  std::uint64_t count_ = 0;
  std::map<const char*, Worst> worst_;
};

template <class Real>
int measure(std::uint64_t stride) {
  if (!fused) {
    std::fputs("without fused multiply-add there is another budget\n", stderr);
    return 2;
  }
  if (std::numeric_limits<typename Wider<Real>::Type>::digits < 2 * FLT_MANT_DIG ||
      std::numeric_limits<typename Wider<Real>::Type>::digits <=
          std::numeric_limits<Real>::digits) {
    std::fputs("long double is no wider than double here\n", stderr);
    return 2;
  }
  Budget<Real> budget;
  budget.see_all(stride);
  budget.print();
  return 0;
}

}  // namespace
}  // namespace logitloss

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fputs("usage: error_budget float|double STRIDE\n", stderr);
    return 2;
  }
  const std::uint64_t stride = std::strtoull(argv[2], nullptr, 10);
  const bool is_float = std::strcmp(argv[1], "float") == 0;
  return is_float ? logitloss::measure<float>(stride) : logitloss::measure<double>(stride);
}

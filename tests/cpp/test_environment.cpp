// The caller's floating-point control register changes no bit of a result, and is left as it was.
#include <doctest/doctest.h>

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "call.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace logitloss::tests {
namespace {

struct Setting {
  std::string name;
  std::uint64_t bits;
};

#if defined(__x86_64__)
// The lowest six bits are not settings but what happened so far.
std::uint64_t read_control() { return _mm_getcsr() & ~0x3FU; }
void write_control(std::uint64_t value) { _mm_setcsr(static_cast<unsigned>(value)); }
constexpr std::uint64_t standard = 0x1F80;
const std::vector<Setting> settings = {
    {"flush-to-zero and denormals-are-zero", standard | 0x8040},
    {"downward", standard | 0x2000},
    {"upward", standard | 0x4000},
    {"toward zero", standard | 0x6000},
    {"all at once", standard | 0x8040 | 0x6000},
};
#elif defined(__aarch64__)
std::uint64_t read_control() {
  std::uint64_t value;
  __asm__ volatile("mrs %0, fpcr" : "=r"(value));
  return value;
}
void write_control(std::uint64_t value) { __asm__ volatile("msr fpcr, %0" : : "r"(value)); }
constexpr std::uint64_t standard = 0;
const std::vector<Setting> settings = {
    {"flush-to-zero", std::uint64_t{1} << 24}, {"upward", std::uint64_t{1} << 22},
    {"downward", std::uint64_t{2} << 22},      {"toward zero", std::uint64_t{3} << 22},
    {"default NaN", std::uint64_t{1} << 25},
};
#else
std::uint64_t read_control() { return 0; }
void write_control(std::uint64_t) {}
constexpr std::uint64_t standard = 0;
const std::vector<Setting> settings;
#endif

class Control {
 public:
  explicit Control(std::uint64_t value) : before_(read_control()) { write_control(value); }
  ~Control() { write_control(before_); }
  Control(const Control&) = delete;
  Control& operator=(const Control&) = delete;

 private:
  std::uint64_t before_;
};

template <class Real>
struct Everything {
  Results<Real> elements;
  std::vector<double> values;
};

template <class Real>
std::vector<Real> logits_with_subnormal_results() {
  std::vector<Real> logits = ordinary_logits<Real>(60000);
  const bool is_float = sizeof(Real) == sizeof(float);
  for (std::size_t i = 0; i < logits.size(); i += 3) {
    logits[i] *= static_cast<Real>(is_float ? 8.6 : 62.0);
  }
  logits[5] = std::numeric_limits<Real>::denorm_min();
  return logits;
}

template <class Real>
Everything<Real> compute(const std::vector<Real>& logits, const std::vector<Real>& targets) {
  Everything<Real> result{evaluate(logits, targets), {}};
  const auto length = static_cast<std::int64_t>(logits.size());
  for (const logitloss_reduction reduction :
       {LOGITLOSS_SUM, LOGITLOSS_MEAN, LOGITLOSS_WEIGHTED_MEAN}) {
    double value = 0.0;
    logitloss_bce_request request = request_for({});
    request.ndim = 1;
    request.shape = &length;
    request.logits = input(logits.data());
    request.targets = input(targets.data());
    request.weight = input(targets.data());
    request.label_smoothing = 0.1;
    request.reduction = reduction;
    request.num_threads = 2;
    request.value = output(&value);
    run(request);
    result.values.push_back(value);
  }
  return result;
}

TEST_CASE("there is a control register to test with") {
  if (settings.empty()) {
    MESSAGE("skipped: no floating-point control register is known for this processor");
  }
}

TEST_CASE_TEMPLATE("no setting of the host changes a bit", Real, float, double) {
  const std::vector<Real> logits = logits_with_subnormal_results<Real>();
  const std::vector<Real> targets = soft_targets<Real>(logits.size());
  for (const std::string& isa : available_isas()) {
    const SelectedIsa selected(isa);
    const Everything<Real> expected = compute(logits, targets);
    for (const Setting& setting : settings) {
      Everything<Real> got;
      std::uint64_t before = 0;
      std::uint64_t after = 0;
      {
        const Control control(setting.bits);
        before = read_control();
        got = compute(logits, targets);
        after = read_control();
      }
      INFO(isa, ", ", setting.name);
      REQUIRE(before == setting.bits);
      CHECK(after == before);
      CHECK(same_bits(got.elements, expected.elements));
      CHECK(same_bits(got.values, expected.values));
    }
  }
}

TEST_CASE("no setting of the host changes which target is bad, or its value") {
  const std::vector<float> logits(3, 1.0F);
  const std::vector<float> targets = {0.0F, 1.0F, -std::numeric_limits<float>::denorm_min()};
  std::vector<float> gradient(3);
  const std::int64_t length = 3;
  for (const Setting& setting : settings) {
    logitloss_report report;
    logitloss_status status = LOGITLOSS_OK;
    {
      const Control control(setting.bits);
      logitloss_bce_request request = request_for({});
      request.ndim = 1;
      request.shape = &length;
      request.logits = input(logits.data());
      request.targets = input(targets.data());
      request.gradient = output(gradient.data());
      status = logitloss_bce_with_logits(&request, &report);
    }
    INFO(setting.name);
    CHECK(status == LOGITLOSS_INVALID_TARGET);
    CHECK(report.bad_index == 2);
    CHECK(report.bad_target == -0x1p-149);
  }
}

#if defined(__x86_64__)
TEST_CASE("traps that the host has asked for are not sprung") {
  // All but the trap for an inexact result, which test code and libraries would spring.
  constexpr std::uint64_t unmasked = 0x1000;
  std::vector<float> logits = logits_with_subnormal_results<float>();
  logits[7] = std::numeric_limits<float>::infinity();
  const std::vector<float> targets = soft_targets<float>(logits.size());
  const std::int64_t nothing = 0;
  double value = 0.0;
  logitloss_report report;
  {
    const Control control(unmasked);
    compute(logits, targets);
    // The mean of nothing is 0 / 0.
    logitloss_bce_request request = request_for({});
    request.ndim = 1;
    request.shape = &nothing;
    request.logits = input(logits.data());
    request.targets = input(targets.data());
    request.reduction = LOGITLOSS_MEAN;
    request.value = output(&value);
    logitloss_bce_with_logits(&request, &report);
  }
  CHECK(report.undefined_mean == 1);
}
#endif

}  // namespace
}  // namespace logitloss::tests

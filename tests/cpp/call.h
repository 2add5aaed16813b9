// Short ways to call the C interface. What should not fail throws, so that these work in any
// thread and outside a test too.
#pragma once

#include <logitloss/logitloss.h>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <logitloss/logitloss.hpp>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace logitloss::tests {

inline std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (std::int32_t i = 0; logitloss_available_isa(i) != nullptr; ++i) {
    names.emplace_back(logitloss_available_isa(i));
  }
  return names;
}

// An instruction set for the life of the object, then the one before.
class SelectedIsa {
 public:
  explicit SelectedIsa(const std::string& name) : before_(logitloss_isa()) {
    if (logitloss_select_isa(name.c_str()) != LOGITLOSS_OK) {
      throw std::runtime_error("cannot select " + name);
    }
  }
  ~SelectedIsa() { logitloss_select_isa(before_.c_str()); }
  SelectedIsa(const SelectedIsa&) = delete;
  SelectedIsa& operator=(const SelectedIsa&) = delete;

 private:
  std::string before_;
};

template <class Element>
logitloss_input input(const Element* data, const std::ptrdiff_t* strides = nullptr) {
  return {data, strides, dtype_of<Element>()};
}

template <class Element>
logitloss_output output(Element* data, const std::ptrdiff_t* strides = nullptr) {
  return {data, strides, dtype_of<Element>()};
}

// A request that reads and writes nothing yet, and validates. `shape` must outlive it.
inline logitloss_bce_request request_for(std::span<const std::int64_t> shape) {
  logitloss_bce_request request{};
  request.struct_size = sizeof request;
  request.ndim = static_cast<std::int32_t>(shape.size());
  request.shape = shape.data();
  request.reduction = LOGITLOSS_NONE;
  request.reduced_axes = ~std::uint64_t{0};
  request.validate = 1;
  return request;
}

inline logitloss_report run(const logitloss_bce_request& request) {
  logitloss_report report;
  const logitloss_status status = logitloss_bce_with_logits(&request, &report);
  if (status != LOGITLOSS_OK) {
    throw std::runtime_error(std::string("the call failed: ") + report.message);
  }
  return report;
}

template <class Real>
struct Results {
  std::vector<Real> loss;
  std::vector<Real> gradient;
  std::vector<Real> hessian;
};

// Loss, gradient and hessian element by element.
template <class Real, class Target>
Results<Real> evaluate(const std::vector<Real>& logits, const std::vector<Target>& targets,
                       const logitloss_bce_request* options = nullptr) {
  const auto length = static_cast<std::int64_t>(logits.size());
  Results<Real> results{std::vector<Real>(logits.size()), std::vector<Real>(logits.size()),
                        std::vector<Real>(logits.size())};
  logitloss_bce_request request = options != nullptr ? *options : request_for({});
  request.ndim = 1;
  request.shape = &length;
  request.logits = input(logits.data());
  request.targets = input(targets.data());
  request.value = output(results.loss.data());
  request.gradient = output(results.gradient.data());
  request.hessian = output(results.hessian.data());
  run(request);
  return results;
}

// Equal to the last bit, whatever the numbers are.
template <class Element>
bool same_bits(const std::vector<Element>& a, const std::vector<Element>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(Element)) == 0);
}

template <class Real>
bool same_bits(const Results<Real>& a, const Results<Real>& b) {
  return same_bits(a.loss, b.loss) && same_bits(a.gradient, b.gradient) &&
         same_bits(a.hessian, b.hessian);
}

// Steele, Lea and Flood's SplitMix64: a sequence that every platform has alike.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t bits() {
    state_ += 0x9E3779B97F4A7C15U;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31);
  }

  // Below `bound`, which is small beside 2^64.
  std::uint64_t below(std::uint64_t bound) { return bits() % bound; }

  // In [0, 1), with 24 bits, so that a float holds it.
  float fraction() { return static_cast<float>(bits() >> 40) * 0x1p-24F; }

 private:
  std::uint64_t state_;
};

// Logits of ordinary size, and targets 0, 1 or between.
template <class Real>
std::vector<Real> ordinary_logits(std::size_t count, std::uint64_t seed = 1) {
  Random random(seed);
  std::vector<Real> logits(count);
  for (Real& x : logits) {
    x = static_cast<Real>(24.0F * random.fraction() - 12.0F);
  }
  return logits;
}

template <class Real>
std::vector<Real> soft_targets(std::size_t count, std::uint64_t seed = 2) {
  Random random(seed);
  std::vector<Real> targets(count);
  for (Real& y : targets) {
    y = static_cast<Real>(static_cast<float>(random.below(65)) / 64.0F);
  }
  return targets;
}

}  // namespace logitloss::tests

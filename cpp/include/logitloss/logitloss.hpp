/**
 * @file logitloss.hpp
 * The C++20 face of logitloss: spans in, exceptions out, over the C interface.
 */
#pragma once

#include <logitloss/logitloss.h>

#include <cstddef>
#include <cstdint>
#include <new>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>

namespace logitloss {

/** The logitloss_dtype of a C++ element type. */
template <class Element>
constexpr logitloss_dtype dtype_of() {
  if constexpr (std::is_same_v<Element, bool>) {
    return LOGITLOSS_BOOL;
  } else if constexpr (std::is_same_v<Element, float>) {
    return LOGITLOSS_FLOAT32;
  } else if constexpr (std::is_same_v<Element, double>) {
    return LOGITLOSS_FLOAT64;
  } else {
    static_assert(std::is_integral_v<Element>, "an element is a bool, an integer or a float");
    constexpr bool is_signed = std::is_signed_v<Element>;
    switch (sizeof(Element)) {
      case 1:
        return is_signed ? LOGITLOSS_INT8 : LOGITLOSS_UINT8;
      case 2:
        return is_signed ? LOGITLOSS_INT16 : LOGITLOSS_UINT16;
      case 4:
        return is_signed ? LOGITLOSS_INT32 : LOGITLOSS_UINT32;
      default:
        return is_signed ? LOGITLOSS_INT64 : LOGITLOSS_UINT64;
    }
  }
}

/** A target outside [0, 1], or NaN. */
class InvalidTarget : public std::domain_error {
 public:
  InvalidTarget(std::int64_t index, double target)
      : std::domain_error("targets must lie in [0, 1], but target " + std::to_string(index) +
                          " is " + std::to_string(target)),
        index_(index) {}

  /** Index of the first bad target. */
  std::int64_t index() const noexcept { return index_; }

 private:
  std::int64_t index_;
};

/** Options of a call; see logitloss_bce_request. */
struct Options {
  double weight = 1.0;
  double pos_weight = 1.0;
  double label_smoothing = 0.0;
  std::optional<double> ignore_index;
  logitloss_reduction reduction = LOGITLOSS_MEAN;
  bool validate = true;
  int num_threads = 0;
};

namespace detail {

inline void run(const logitloss_bce_request& request) {
  logitloss_report report;
  switch (logitloss_bce_with_logits(&request, &report)) {
    case LOGITLOSS_OK:
      return;
    case LOGITLOSS_INVALID_TARGET:
      throw InvalidTarget(report.bad_index, report.bad_target);
    case LOGITLOSS_OUT_OF_MEMORY:
      throw std::bad_alloc();
    case LOGITLOSS_INVALID_ARGUMENT:
      throw std::invalid_argument(report.message);
    case LOGITLOSS_DEVICE_ERROR:
      throw std::runtime_error(report.message);
  }
}

}  // namespace detail

/**
 * Reduced loss of contiguous elements, and their gradient and hessian where spans for them are
 * not empty.
 *
 * @param logits    Logits of type float or double.
 * @param targets   As many targets in [0, 1], of any type that dtype_of knows.
 * @param options   Weights and reduction; LOGITLOSS_NONE is refused, as it has no single value.
 * @param gradient  Empty, or as long as logits; may be the logits.
 * @param hessian   Empty, or as long as logits.
 * @return the value; NaN for a mean over nothing.
 * @throws InvalidTarget, std::invalid_argument, std::bad_alloc
 */
template <class Real, class Target>
double bce_with_logits(std::span<const Real> logits, std::span<const Target> targets,
                       const Options& options = {}, std::span<Real> gradient = {},
                       std::span<Real> hessian = {}) {
  static_assert(std::is_same_v<Real, float> || std::is_same_v<Real, double>);
  const auto fits = [&](std::size_t length) { return length == 0 || length == logits.size(); };
  if (targets.size() != logits.size() || !fits(gradient.size()) || !fits(hessian.size())) {
    throw std::invalid_argument("logits, targets, gradient and hessian must have one length");
  }
  if (options.reduction == LOGITLOSS_NONE) {
    throw std::invalid_argument("reduction must be a sum or a mean to have one value");
  }
  const auto length = static_cast<std::int64_t>(logits.size());
  constexpr std::ptrdiff_t repeat = 0;
  const Real placeholder{};
  double value = 0.0;
  logitloss_bce_request request{};
  request.struct_size = sizeof request;
  request.ndim = 1;
  request.shape = &length;
  request.logits = {length != 0 ? logits.data() : &placeholder, nullptr, dtype_of<Real>()};
  request.targets = {length != 0 ? static_cast<const void*>(targets.data()) : &placeholder, nullptr,
                     dtype_of<Target>()};
  request.weight = {&options.weight, &repeat, LOGITLOSS_FLOAT64};
  request.pos_weight = {&options.pos_weight, &repeat, LOGITLOSS_FLOAT64};
  if (options.weight == 1.0) {
    request.weight = {};
  }
  if (options.pos_weight == 1.0) {
    request.pos_weight = {};
  }
  request.label_smoothing = options.label_smoothing;
  request.has_ignore_index = options.ignore_index.has_value() ? 1 : 0;
  request.ignore_index = options.ignore_index.value_or(0.0);
  request.reduction = options.reduction;
  request.reduced_axes = 1;
  request.validate = options.validate ? 1 : 0;
  request.num_threads = options.num_threads;
  request.value = {&value, nullptr, LOGITLOSS_FLOAT64};
  request.gradient = {gradient.data(), nullptr, dtype_of<Real>()};
  request.hessian = {hessian.data(), nullptr, dtype_of<Real>()};
  detail::run(request);
  return value;
}

}  // namespace logitloss

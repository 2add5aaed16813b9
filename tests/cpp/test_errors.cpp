// Every refusal of the C interface, and what a refused call leaves untouched.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "call.h"

namespace logitloss::tests {
namespace {

// A good call with every operand present, for tests to spoil.
struct Valid {
  std::vector<std::int64_t> shape = {2, 3};
  std::vector<float> logits = {1, 2, 3, 4, 5, 6};
  std::vector<float> ones = std::vector<float>(6, 1.0F);
  bool where[6] = {true, true, true, true, true, true};
  std::vector<double> value = std::vector<double>(6, -7.0);
  std::vector<float> gradient = std::vector<float>(6, -7.0F);
  std::vector<float> hessian = std::vector<float>(6, -7.0F);
  logitloss_bce_request request = request_for(shape);

  Valid() {
    request.logits = input(logits.data());
    request.targets = input(ones.data());
    request.weight = input(ones.data());
    request.pos_weight = input(ones.data());
    request.grad_output = input(ones.data());
    request.where = input(where);
    request.reduction = LOGITLOSS_SUM;
    request.value = output(value.data());
    request.gradient = output(gradient.data());
    request.hessian = output(hessian.data());
  }
  Valid(const Valid&) = delete;
  Valid& operator=(const Valid&) = delete;

  bool is_untouched() const {
    return value == std::vector<double>(6, -7.0) && gradient == std::vector<float>(6, -7.0F) &&
           hessian == std::vector<float>(6, -7.0F);
  }
};

using Request = logitloss_bce_request;

struct Spoiled {
  std::string what;
  // What the message has to name.
  std::string named;
  std::function<void(Request&)> spoil;
};

const std::int64_t negative_length[] = {2, -1};
const std::int64_t too_long[] = {std::int64_t{1} << 40, std::int64_t{1} << 40};
constexpr double nan = std::numeric_limits<double>::quiet_NaN();

const std::vector<Spoiled> spoiled_calls = {
    {"struct_size 0", "struct_size", [](Request& r) { r.struct_size = 0; }},
    {"struct_size of another version", "struct_size", [](Request& r) { r.struct_size += 8; }},
    {"ndim -1", "ndim", [](Request& r) { r.ndim = -1; }},
    {"ndim 65", "ndim", [](Request& r) { r.ndim = LOGITLOSS_MAX_DIMENSIONS + 1; }},
    {"no shape", "shape", [](Request& r) { r.shape = nullptr; }},
    {"a negative length", "shape", [](Request& r) { r.shape = negative_length; }},
    {"too many elements", "shape", [](Request& r) { r.shape = too_long; }},
    {"no logits", "logits", [](Request& r) { r.logits.data = nullptr; }},
    {"no targets", "targets", [](Request& r) { r.targets.data = nullptr; }},
    {"bool logits", "logits", [](Request& r) { r.logits.dtype = LOGITLOSS_BOOL; }},
    {"logits of no dtype", "logits", [](Request& r) { r.logits.dtype = 13; }},
    {"targets of no dtype", "targets", [](Request& r) { r.targets.dtype = 13; }},
    {"weight of no dtype", "weight", [](Request& r) { r.weight.dtype = 14; }},
    {"pos_weight of no dtype", "pos_weight", [](Request& r) { r.pos_weight.dtype = 15; }},
    {"grad_output of no dtype", "grad_output", [](Request& r) { r.grad_output.dtype = 13; }},
    {"where of uint8", "where", [](Request& r) { r.where.dtype = LOGITLOSS_UINT8; }},
    {"no output", "value, gradient and hessian",
     [](Request& r) { r.value.data = r.gradient.data = r.hessian.data = nullptr; }},
    {"a reduced value of float32", "value", [](Request& r) { r.value.dtype = LOGITLOSS_FLOAT32; }},
    {"values of another dtype than the logits", "value",
     [](Request& r) { r.reduction = LOGITLOSS_NONE; }},
    {"a gradient of float64", "gradient", [](Request& r) { r.gradient.dtype = LOGITLOSS_FLOAT64; }},
    {"a hessian of float16", "hessian", [](Request& r) { r.hessian.dtype = LOGITLOSS_FLOAT16; }},
    {"a gradient of integers", "gradient",
     [](Request& r) { r.logits.dtype = r.gradient.dtype = LOGITLOSS_INT32; }},
    {"negative label_smoothing", "label_smoothing",
     [](Request& r) { r.label_smoothing = -1e-300; }},
    {"label_smoothing 1", "label_smoothing", [](Request& r) { r.label_smoothing = 1.0; }},
    {"label_smoothing NaN", "label_smoothing", [](Request& r) { r.label_smoothing = nan; }},
    {"num_threads -1", "num_threads", [](Request& r) { r.num_threads = -1; }},
};

TEST_CASE("each bad argument is named, and nothing is written") {
  for (const Spoiled& spoiled : spoiled_calls) {
    CAPTURE(spoiled.what);
    Valid valid;
    spoiled.spoil(valid.request);
    logitloss_report report;
    std::memset(&report, 0x55, sizeof report);
    CHECK(logitloss_bce_with_logits(&valid.request, &report) == LOGITLOSS_INVALID_ARGUMENT);
    CHECK(std::string(report.message).find(spoiled.named) != std::string::npos);
    CHECK(report.bad_index == -1);
    CHECK(report.undefined_mean == 0);
    CHECK(valid.is_untouched());
  }
}

TEST_CASE("enumerators out of range are refused") {
  for (const int raw : {-1, 4, 1000}) {
    Valid valid;
    valid.request.reduction = raw;
    logitloss_report report;
    CHECK(logitloss_bce_with_logits(&valid.request, &report) == LOGITLOSS_INVALID_ARGUMENT);
    CHECK(std::string(report.message).find("reduction") != std::string::npos);
    CHECK(valid.is_untouched());
  }
  for (const int raw : {-1, 16, 1000}) {
    Valid valid;
    valid.request.logits.dtype = raw;
    logitloss_report report;
    CHECK(logitloss_bce_with_logits(&valid.request, &report) == LOGITLOSS_INVALID_ARGUMENT);
    CHECK(valid.is_untouched());
  }
}

TEST_CASE("an unspoiled call is accepted and clears its report") {
  Valid valid;
  logitloss_report report;
  std::memset(&report, 0x55, sizeof report);
  CHECK(logitloss_bce_with_logits(&valid.request, &report) == LOGITLOSS_OK);
  CHECK(report.bad_index == -1);
  CHECK(report.undefined_mean == 0);
  CHECK(report.message[0] == '\0');
  CHECK(valid.value[0] != -7.0);
  CHECK(valid.value[1] == -7.0);
}

TEST_CASE("dtypes of operands that are absent are not looked at") {
  Valid valid;
  for (logitloss_input* operand : {&valid.request.weight, &valid.request.pos_weight,
                                   &valid.request.where, &valid.request.grad_output}) {
    operand->data = nullptr;
    operand->dtype = 15;
  }
  run(valid.request);
  CHECK_FALSE(valid.is_untouched());
}

// The bad target that is reported is the first in C order, in whatever order the array lies in
// memory and is summed.
TEST_CASE("the first bad target in C order") {
  constexpr std::int64_t rows = 300;
  constexpr std::int64_t columns = 400;
  constexpr std::int64_t size = rows * columns;
  const std::int64_t shape[] = {rows, columns};
  const std::ptrdiff_t transposed[] = {sizeof(float), rows * sizeof(float)};
  const float logit = 0.5F;
  const std::ptrdiff_t repeat[] = {0, 0};
  std::vector<double> value(size);
  for (const std::int64_t bad : {std::int64_t{0}, std::int64_t{70001}, size - 1}) {
    std::vector<float> targets(size, 1.0F);
    const auto put = [&](std::int64_t index, float target) {
      targets[static_cast<std::size_t>(index % columns * rows + index / columns)] = target;
    };
    put(bad, -0.25F);
    for (std::int64_t later = bad + 1; later < size; later += 997) {
      put(later, 2.0F);
    }
    for (const std::uint64_t axes : {0b00U, 0b01U, 0b10U, 0b11U}) {
      for (const std::int32_t threads : {1, 2, 7}) {
        logitloss_bce_request request = request_for(shape);
        request.logits = input(&logit, repeat);
        request.targets = input(targets.data(), transposed);
        request.reduction = LOGITLOSS_MEAN;
        request.reduced_axes = axes;
        request.num_threads = threads;
        request.value = output(value.data());
        logitloss_report report;
        CHECK(logitloss_bce_with_logits(&request, &report) == LOGITLOSS_INVALID_TARGET);
        CHECK(report.bad_index == bad);
        CHECK(report.bad_target == -0.25);
      }
    }
  }
}

template <class Target>
logitloss_status status_of_target(Target target, Request options = request_for({})) {
  const float logit = 1.0F;
  float gradient = 0.0F;
  options.ndim = 0;
  options.logits = input(&logit);
  options.targets = input(&target);
  options.gradient = output(&gradient);
  logitloss_report report;
  return logitloss_bce_with_logits(&options, &report);
}

TEST_CASE("which targets are bad") {
  using Float = std::numeric_limits<float>;
  using Double = std::numeric_limits<double>;
  for (const std::string& isa : available_isas()) {
    CAPTURE(isa);
    const SelectedIsa selected(isa);
    CHECK(status_of_target(0.0F) == LOGITLOSS_OK);
    CHECK(status_of_target(-0.0F) == LOGITLOSS_OK);
    CHECK(status_of_target(1.0F) == LOGITLOSS_OK);
    CHECK(status_of_target(Float::denorm_min()) == LOGITLOSS_OK);
    CHECK(status_of_target(1.0F + Float::epsilon()) == LOGITLOSS_INVALID_TARGET);
    CHECK(status_of_target(-Float::denorm_min()) == LOGITLOSS_INVALID_TARGET);
    CHECK(status_of_target(Float::quiet_NaN()) == LOGITLOSS_INVALID_TARGET);
    CHECK(status_of_target(Float::infinity()) == LOGITLOSS_INVALID_TARGET);
    // float32 logits, float64 targets that would round to good ones.
    CHECK(status_of_target(1.0 + Double::epsilon()) == LOGITLOSS_INVALID_TARGET);
    CHECK(status_of_target(-Double::denorm_min()) == LOGITLOSS_INVALID_TARGET);
    CHECK(status_of_target(1.0 - Double::epsilon()) == LOGITLOSS_OK);
    CHECK(status_of_target(std::int8_t{2}) == LOGITLOSS_INVALID_TARGET);
    CHECK(status_of_target(std::uint8_t{255}) == LOGITLOSS_INVALID_TARGET);
    CHECK(status_of_target(std::int64_t{-1}) == LOGITLOSS_INVALID_TARGET);
    CHECK(status_of_target((std::uint64_t{1} << 63) + 1) == LOGITLOSS_INVALID_TARGET);

    Request options = request_for({});
    options.validate = 0;
    CHECK(status_of_target(2.0F, options) == LOGITLOSS_OK);
    options.validate = 1;
    options.has_ignore_index = 1;
    options.ignore_index = 255.0;
    CHECK(status_of_target(std::uint8_t{255}, options) == LOGITLOSS_OK);
    CHECK(status_of_target(std::uint8_t{254}, options) == LOGITLOSS_INVALID_TARGET);
    CHECK(status_of_target(Float::quiet_NaN(), options) == LOGITLOSS_INVALID_TARGET);
    options.ignore_index = nan;
    CHECK(status_of_target(Float::quiet_NaN(), options) == LOGITLOSS_OK);
  }
}

TEST_CASE("in place, a bad target leaves the logits untouched") {
  constexpr std::size_t size = 100000;
  const std::vector<float> original = ordinary_logits<float>(size);
  const auto length = static_cast<std::int64_t>(size);
  for (const logitloss_reduction reduction : {LOGITLOSS_NONE, LOGITLOSS_SUM, LOGITLOSS_MEAN}) {
    for (const std::size_t bad : {std::size_t{0}, size / 2, size - 1}) {
      std::vector<float> logits = original;
      std::vector<float> targets(size, 1.0F);
      targets[bad] = 1.5F;
      logitloss_bce_request request = request_for({});
      request.ndim = 1;
      request.shape = &length;
      request.logits = input(logits.data());
      request.targets = input(targets.data());
      request.gradient = output(logits.data());
      request.reduction = reduction;
      logitloss_report report;
      CHECK(logitloss_bce_with_logits(&request, &report) == LOGITLOSS_INVALID_TARGET);
      CHECK(report.bad_index == static_cast<std::int64_t>(bad));
      CHECK(same_bits(logits, original));
    }
  }
}

TEST_CASE("a mean over nothing is NaN and said to be undefined") {
  const float number = 1.0F;
  const bool where = false;
  const std::ptrdiff_t repeat[] = {0, 0};
  const std::int64_t shape[] = {3, 4};
  double value[3] = {};
  float gradient[12];
  logitloss_bce_request request = request_for(shape);
  request.logits = input(&number, repeat);
  request.targets = input(&number, repeat);
  request.where = input(&where, repeat);
  request.reduced_axes = 0b10;
  request.value = output(value);
  request.gradient = output(gradient);
  for (const logitloss_reduction reduction : {LOGITLOSS_MEAN, LOGITLOSS_WEIGHTED_MEAN}) {
    std::fill_n(gradient, 12, -7.0F);
    request.reduction = reduction;
    CHECK(run(request).undefined_mean == 1);
    for (const double mean : value) {
      CHECK(std::isnan(mean));
    }
    CHECK(std::count(gradient, gradient + 12, 0.0F) == 12);
  }
  request.reduction = LOGITLOSS_SUM;
  CHECK(run(request).undefined_mean == 0);
  for (const double sum : value) {
    CHECK(sum == 0.0);
  }
}

TEST_CASE("no elements") {
  const float number = 1.0F;
  const std::int64_t shape[] = {3, 0, 2};
  double value[6];
  std::fill_n(value, 6, -7.0);
  logitloss_bce_request request = request_for(shape);
  request.logits = input(&number);
  request.targets = input(&number);
  request.reduced_axes = 0b010;
  request.value = output(value);
  request.reduction = LOGITLOSS_SUM;
  CHECK(run(request).undefined_mean == 0);
  CHECK(std::count(value, value + 6, 0.0) == 6);
  request.reduction = LOGITLOSS_MEAN;
  CHECK(run(request).undefined_mean == 1);
  CHECK(std::all_of(value, value + 6, [](double mean) { return std::isnan(mean); }));
  // No output either.
  request.reduced_axes = 0b001;
  std::fill_n(value, 6, -7.0);
  CHECK(run(request).undefined_mean == 0);
  CHECK(std::count(value, value + 6, -7.0) == 6);
}

TEST_CASE("an instruction set that is unknown or missing is refused") {
  const std::string before = logitloss_isa();
  CHECK(logitloss_select_isa("sse9") == LOGITLOSS_INVALID_ARGUMENT);
  CHECK(logitloss_select_isa("") == LOGITLOSS_INVALID_ARGUMENT);
  CHECK(logitloss_isa() == before);
  CHECK(logitloss_available_isa(-1) == nullptr);
  CHECK(logitloss_available_isa(1000) == nullptr);
}

TEST_CASE("version and compiler") {
  CHECK(std::string(logitloss_version()) == LOGITLOSS_VERSION);
  CHECK_FALSE(std::string(logitloss_compiler()).empty());
}

}  // namespace
}  // namespace logitloss::tests

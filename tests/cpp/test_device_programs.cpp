// What runs on a GPU against the CPU's kernels: every element and every sum has the same bits. The
// host runs it, thread after thread, or a device, where the library was built for one.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "call.h"
#include "device_memory.h"
#include "logitloss/logitloss_cuda.h"

namespace logitloss::tests {
namespace {

struct Format {
  logitloss_dtype dtype;
  std::size_t bytes;
};

constexpr Format logit_formats[] = {{LOGITLOSS_FLOAT16, 2}, {LOGITLOSS_BFLOAT16, 2},
                                    {LOGITLOSS_FLOAT32, 4}, {LOGITLOSS_FLOAT32, 4},
                                    {LOGITLOSS_FLOAT64, 8}, {LOGITLOSS_INT32, 4}};
constexpr Format target_formats[] = {
    {LOGITLOSS_BOOL, 1},    {LOGITLOSS_INT8, 1},    {LOGITLOSS_UINT8, 1},  {LOGITLOSS_INT64, 8},
    {LOGITLOSS_FLOAT16, 2}, {LOGITLOSS_FLOAT32, 4}, {LOGITLOSS_FLOAT64, 8}};
constexpr Format factor_formats[] = {
    {LOGITLOSS_FLOAT32, 4}, {LOGITLOSS_FLOAT64, 8}, {LOGITLOSS_UINT8, 1}, {LOGITLOSS_FLOAT16, 2}};

std::uint16_t half_of(float x) {
  // Every number that the tests write is one of binary16, or becomes an infinity.
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  const std::uint32_t sign = bits >> 16 & 0x8000U;
  const std::uint32_t magnitude = bits & 0x7FFFFFFFU;
  if (magnitude > 0x7F800000U) {
    return static_cast<std::uint16_t>(sign | 0x7E00U);
  }
  if (magnitude >= 0x47800000U) {
    return static_cast<std::uint16_t>(sign | 0x7C00U);
  }
  return magnitude < 0x38800000U
             ? static_cast<std::uint16_t>(sign)
             : static_cast<std::uint16_t>(sign | (magnitude - 0x38000000U) >> 13);
}

void put(char* target, logitloss_dtype dtype, double number) {
  const auto write = [&](auto value) { std::memcpy(target, &value, sizeof value); };
  const auto single = static_cast<float>(number);
  std::uint32_t bits;
  std::memcpy(&bits, &single, sizeof bits);
  const double whole = std::isfinite(number) ? number : 0.0;
  switch (dtype) {
    case LOGITLOSS_BOOL:
      return write(static_cast<std::uint8_t>(whole != 0.0));
    case LOGITLOSS_INT8:
      return write(static_cast<std::int8_t>(whole));
    case LOGITLOSS_UINT8:
      return write(static_cast<std::uint8_t>(std::fabs(std::fmod(whole, 256.0))));
    case LOGITLOSS_INT32:
      return write(static_cast<std::int32_t>(std::fmod(whole, 1e9)));
    case LOGITLOSS_INT64:
      return write(static_cast<std::int64_t>(whole));
    case LOGITLOSS_FLOAT16:
      return write(half_of(single));
    case LOGITLOSS_BFLOAT16:
      return write(static_cast<std::uint16_t>(bits >> 16));
    case LOGITLOSS_FLOAT64:
      return write(number);
    default:
      return write(single);
  }
}

// A strided array over its own memory, with room before and after what is addressed.
struct Array {
  Format format{};
  std::vector<char> memory;
  std::vector<std::ptrdiff_t> strides;
  std::size_t origin = 0;
  // Where the call finds the memory.
  char* base = nullptr;

  char* data() const { return base + origin; }
  logitloss_input input() const { return {data(), strides.data(), format.dtype}; }
  logitloss_output output() const { return {data(), strides.data(), format.dtype}; }
};

using Lengths = std::vector<std::int64_t>;

std::int64_t product(const Lengths& lengths) {
  std::int64_t size = 1;
  for (const std::int64_t length : lengths) {
    size *= length;
  }
  return size;
}

class Maker {
 public:
  explicit Maker(Random& random) : random_(random) {}

  // Dimensions in C order, or in another one, some of them backwards or with gaps.
  Array array(const Format& format, const Lengths& lengths, bool is_plain) {
    Array array;
    array.format = format;
    array.strides.resize(lengths.size());
    std::vector<std::size_t> order(lengths.size());
    for (std::size_t k = 0; k < order.size(); ++k) {
      order[k] = order.size() - 1 - k;
    }
    if (!is_plain && random_.below(2) == 0) {
      std::reverse(order.begin(), order.end());
    }
    std::size_t step = format.bytes * (is_plain ? 1 : 1 + random_.below(2));
    std::size_t origin = is_plain ? 0 : format.bytes * random_.below(3);
    for (const std::size_t k : order) {
      const auto length = static_cast<std::size_t>(std::max<std::int64_t>(lengths[k], 1));
      array.strides[k] = static_cast<std::ptrdiff_t>(step);
      if (!is_plain && random_.below(4) == 0) {
        array.strides[k] = -array.strides[k];
        origin += (length - 1) * step;
      }
      step *= length;
    }
    array.origin = origin;
    array.memory.resize(step + 4 * format.bytes);
    return array;
  }

  // An array that repeats along some dimensions.
  Array broadcast(const Format& format, const Lengths& lengths) {
    Lengths own = lengths;
    for (std::int64_t& length : own) {
      length = random_.below(3) == 0 ? 1 : length;
    }
    Array result = array(format, own, random_.below(2) == 0);
    for (std::size_t k = 0; k < own.size(); ++k) {
      if (own[k] == 1) {
        result.strides[k] = 0;
      }
    }
    return result;
  }

  // Every item of the memory, addressed or not.
  template <class Next>
  void fill(Array& array, Next next) {
    const std::size_t bytes = array.format.bytes;
    for (std::size_t at = 0; at + bytes <= array.memory.size(); at += bytes) {
      put(array.memory.data() + at, array.format.dtype, next());
    }
  }

  double logit(bool are_wild) {
    if (are_wild && random_.below(8) == 0) {
      static constexpr double special[] = {0.0,    -0.0,  INFINITY, -INFINITY, NAN,
                                           88.0,   -90.0, 103.97,   -104.0,    709.0,
                                           -740.0, 1e-40, -3e38,    1e300};
      return special[random_.below(std::size(special))];
    }
    return static_cast<double>(40.0F * random_.fraction() - 20.0F);
  }

  double target(bool are_hard) {
    const auto step = static_cast<double>(random_.below(9)) / 8.0;
    return are_hard ? static_cast<double>(random_.below(2)) : step;
  }

  double weight(bool are_extreme) {
    if (are_extreme && random_.below(64) == 0) {
      static constexpr double special[] = {1e-30, 1e20, 0.0, 1e200, 3e9};
      return special[random_.below(std::size(special))];
    }
    return static_cast<double>(random_.below(33)) / 8.0;
  }

 private:
  Random& random_;
};

struct Outputs {
  Array value;
  Array gradient;
  Array hessian;
};

bool are_same_number(const char* a, const char* b, const Format& format) {
  if (std::memcmp(a, b, format.bytes) == 0) {
    return true;
  }
  const auto is_nan = [&](const char* at) {
    if (format.bytes == 8) {
      double x;
      std::memcpy(&x, at, sizeof x);
      return std::isnan(x);
    }
    if (format.bytes == 4) {
      float x;
      std::memcpy(&x, at, sizeof x);
      return std::isnan(x);
    }
    std::uint16_t bits;
    std::memcpy(&bits, at, sizeof bits);
    return (bits & 0x7FFFU) > (format.dtype == LOGITLOSS_FLOAT16 ? 0x7C00U : 0x7F80U);
  };
  return is_nan(a) && is_nan(b);
}

bool are_same(const Array& a, const Array& b) {
  for (std::size_t at = 0; at + a.format.bytes <= a.memory.size(); at += a.format.bytes) {
    if (!are_same_number(a.memory.data() + at, b.memory.data() + at, a.format)) {
      return false;
    }
  }
  return true;
}

void run_on_device(const logitloss_bce_request& request) {
  logitloss_report report;
  std::size_t bytes = 0;
  REQUIRE_MESSAGE(logitloss_cuda_workspace(&request, &bytes, &report) == LOGITLOSS_OK,
                  std::string(report.message));
  const DeviceMemory workspace(bytes);
  REQUIRE_MESSAGE(logitloss_cuda_bce_with_logits(&request, nullptr, workspace.data(), bytes,
                                                 &report) == LOGITLOSS_OK,
                  std::string(report.message));
}

// Copies of arrays in the memory of a device, for the time of a call.
class OnDevice {
 public:
  explicit OnDevice(std::vector<Array*> arrays) : arrays_(std::move(arrays)) {
    for (Array* array : arrays_) {
      memory_.push_back(std::make_unique<DeviceMemory>(array->memory.size()));
      memory_.back()->write(array->memory);
      array->base = memory_.back()->data();
    }
  }

  void read_back() {
    for (std::size_t k = 0; k < arrays_.size(); ++k) {
      memory_[k]->read(arrays_[k]->memory);
    }
  }

 private:
  std::vector<Array*> arrays_;
  std::vector<std::unique_ptr<DeviceMemory>> memory_;
};

class RandomCall {
 public:
  explicit RandomCall(std::uint64_t seed) : random_(seed), maker_(random_) { make(); }

  void compare() {
    Outputs expected = outputs_;
    Outputs got = outputs_;
    Array logits = logits_;
    for (Array* array : {&logits_, &targets_, &weight_, &pos_weight_, &where_, &grad_output_,
                         &expected.value, &expected.gradient, &expected.hessian}) {
      array->base = array->memory.data();
    }
    run(request_for(logits_, expected));
    OnDevice device({&logits, &targets_, &weight_, &pos_weight_, &where_, &grad_output_, &got.value,
                     &got.gradient, &got.hessian});
    run_on_device(request_for(logits, got));
    device.read_back();
    CHECK(are_same(got.gradient, expected.gradient));
    CHECK(are_same(got.hessian, expected.hessian));
    CHECK(are_same(got.value, expected.value));
    if (is_in_place_) {
      CHECK(are_same(logits, logits_));
    }
  }

  std::string text() const {
    std::ostringstream text;
    text << "shape";
    for (const std::int64_t length : lengths_) {
      text << ' ' << length;
    }
    text << ", axes " << axes_ << ", reduction " << reduction_ << ", logits "
         << logits_.format.dtype << ", targets " << targets_.format.dtype;
    const std::pair<bool, const char*> options[] = {{has_weight_, "weight"},
                                                    {has_pos_weight_, "pos_weight"},
                                                    {has_where_, "where"},
                                                    {has_ignore_index_, "ignore_index"},
                                                    {has_grad_output_, "grad_output"},
                                                    {is_in_place_, "in place"}};
    for (const auto& [is_given, name] : options) {
      text << (is_given ? std::string(", ") + name : std::string());
    }
    text << ", outputs " << wanted_;
    return text.str();
  }

 private:
  void make() {
    static constexpr std::int64_t some[] = {1, 2, 3, 5, 8, 31, 64, 100, 513, 700, 1500, 20000};
    const std::uint64_t ndim = 1 + random_.below(3);
    for (std::uint64_t k = 0; k < ndim; ++k) {
      const std::int64_t length = some[random_.below(std::size(some))];
      lengths_.push_back(product(lengths_) * length > 60000 ? 2 : length);
    }
    reduction_ = static_cast<logitloss_reduction>(random_.below(4));
    axes_ = random_.below(2) == 0 ? ~std::uint64_t{0} : random_.below(std::uint64_t{1} << ndim);
    const bool is_plain = random_.below(3) == 0;
    const bool are_wild = random_.below(3) == 0;
    logits_ = maker_.array(logit_formats[random_.below(std::size(logit_formats))], lengths_,
                           is_plain || random_.below(2) == 0);
    maker_.fill(logits_, [&] { return maker_.logit(are_wild); });
    targets_ = maker_.array(target_formats[random_.below(std::size(target_formats))], lengths_,
                            is_plain || random_.below(2) == 0);
    // Sums notice bad targets, which nothing forbids here.
    const bool has_bad = random_.below(6) == 0;
    maker_.fill(targets_, [&] {
      return has_bad && random_.below(50) == 0 ? 2.0 : maker_.target(random_.below(2) == 0);
    });
    if (!is_plain) {
      make_options();
    }
    make_outputs();
  }

  void make_options() {
    const bool are_extreme = random_.below(4) == 0;
    has_weight_ = random_.below(3) == 0;
    has_pos_weight_ = random_.below(3) == 0;
    has_where_ = random_.below(3) == 0;
    label_smoothing_ = random_.below(4) == 0 ? 0.125 : 0.0;
    has_ignore_index_ = random_.below(4) == 0;
    for (Array* factor : {&weight_, &pos_weight_}) {
      *factor =
          maker_.broadcast(factor_formats[random_.below(std::size(factor_formats))], lengths_);
      maker_.fill(*factor, [&] { return maker_.weight(are_extreme); });
    }
    where_ = maker_.broadcast({LOGITLOSS_BOOL, 1}, lengths_);
    maker_.fill(where_, [&] { return random_.below(4) == 0 ? 0.0 : 1.0; });
    has_grad_output_ = random_.below(4) == 0;
    if (has_grad_output_) {
      grad_output_ = maker_.array(factor_formats[random_.below(2)], value_lengths(), true);
      const double large = random_.below(4) == 0 ? 1e30 : 1.0;
      maker_.fill(grad_output_, [&] { return large * maker_.weight(false); });
      spread(grad_output_);
    }
  }

  bool is_reduced(std::size_t k) const {
    return reduction_ != LOGITLOSS_NONE && (axes_ >> k & 1U) != 0;
  }

  Lengths value_lengths() const {
    Lengths kept;
    for (std::size_t k = 0; k < lengths_.size(); ++k) {
      if (!is_reduced(k)) {
        kept.push_back(lengths_[k]);
      }
    }
    return kept;
  }

  // Strides over all dimensions, 0 on the reduced ones.
  void spread(Array& array) const {
    std::vector<std::ptrdiff_t> strides;
    std::size_t next = 0;
    for (std::size_t k = 0; k < lengths_.size(); ++k) {
      strides.push_back(is_reduced(k) ? 0 : array.strides[next++]);
    }
    array.strides = strides;
  }

  void make_outputs() {
    const bool is_floating = logits_.format.dtype >= LOGITLOSS_FLOAT16;
    const Format result = is_floating ? logits_.format : Format{LOGITLOSS_FLOAT64, 8};
    const bool is_plain = random_.below(2) == 0;
    wanted_ = 1 + static_cast<unsigned>(random_.below(7));
    outputs_.gradient = maker_.array(result, lengths_, is_plain);
    outputs_.hessian = maker_.array(result, lengths_, is_plain);
    if (reduction_ == LOGITLOSS_NONE) {
      outputs_.value = maker_.array(result, lengths_, is_plain);
    } else {
      outputs_.value = maker_.array({LOGITLOSS_FLOAT64, 8}, value_lengths(), is_plain);
      spread(outputs_.value);
    }
    is_in_place_ = is_floating && (wanted_ & 2U) != 0 && random_.below(4) == 0;
  }

  logitloss_bce_request request_for(Array& logits, Outputs& outputs) {
    logitloss_bce_request request = tests::request_for(lengths_);
    request.validate = 0;
    request.reduction = reduction_;
    request.reduced_axes = axes_;
    request.logits = logits.input();
    request.targets = targets_.input();
    request.weight = has_weight_ ? weight_.input() : logitloss_input{};
    request.pos_weight = has_pos_weight_ ? pos_weight_.input() : logitloss_input{};
    request.where = has_where_ ? where_.input() : logitloss_input{};
    request.grad_output = has_grad_output_ ? grad_output_.input() : logitloss_input{};
    request.label_smoothing = label_smoothing_;
    request.has_ignore_index = has_ignore_index_ ? 1 : 0;
    request.ignore_index = 1.0;
    request.value = (wanted_ & 1U) != 0 ? outputs.value.output() : logitloss_output{};
    request.gradient = (wanted_ & 2U) != 0 ? outputs.gradient.output() : logitloss_output{};
    request.hessian = (wanted_ & 4U) != 0 ? outputs.hessian.output() : logitloss_output{};
    if (is_in_place_) {
      request.gradient = logits.output();
    }
    return request;
  }

  Random random_;
  Maker maker_;
  Lengths lengths_;
  logitloss_reduction reduction_ = LOGITLOSS_NONE;
  std::uint64_t axes_ = 0;
  Array logits_;
  Array targets_;
  Array weight_;
  Array pos_weight_;
  Array where_;
  Array grad_output_;
  Outputs outputs_;
  double label_smoothing_ = 0.0;
  unsigned wanted_ = 0;
  bool has_weight_ = false;
  bool has_pos_weight_ = false;
  bool has_where_ = false;
  bool has_ignore_index_ = false;
  bool has_grad_output_ = false;
  bool is_in_place_ = false;
};

// The fastest instruction set that has a fused multiply-add, as devices have.
std::string isa_with_fma() {
  const std::vector<std::string> names = available_isas();
  return names.back() == "baseline" ? std::string() : names.back();
}

bool skips() {
  if (!has_device()) {
    MESSAGE("skipped: there is no CUDA device");
    return true;
  }
  if (isa_with_fma().empty()) {
    MESSAGE("skipped: this processor has no fused multiply-add");
    return true;
  }
  MESSAGE("runs on: " << std::string(logitloss_cuda_platform()));
  return false;
}

// LOGITLOSS_RANDOM_CALLS makes them fewer, for tools that are slow.
std::uint64_t random_call_count() {
  const char* const given = std::getenv("LOGITLOSS_RANDOM_CALLS");
  const std::uint64_t count = given == nullptr ? 1500 : std::strtoull(given, nullptr, 10);
  REQUIRE_MESSAGE(count > 0, "LOGITLOSS_RANDOM_CALLS must be a number");
  return count;
}

TEST_CASE("random calls have the bits of the CPU") {
  if (skips()) {
    return;
  }
  const SelectedIsa selected(isa_with_fma());
  const std::uint64_t count = random_call_count();
  for (std::uint64_t seed = 1; seed <= count; ++seed) {
    RandomCall call(seed);
    INFO("call ", seed, ": ", call.text());
    call.compare();
  }
}

TEST_CASE("requests that a device cannot take are refused") {
  const std::int64_t shape[] = {4};
  std::vector<float> numbers(4);
  logitloss_bce_request request = request_for(shape);
  request.logits = input(numbers.data());
  request.targets = input(numbers.data());
  double value = 0.0;
  request.reduction = LOGITLOSS_SUM;
  request.value = output(&value);
  logitloss_report report;
  std::size_t bytes = 1;
  CHECK(logitloss_cuda_workspace(&request, &bytes, &report) == LOGITLOSS_INVALID_ARGUMENT);
  CHECK(std::string(report.message).find("validate must be 0") == 0);
  request.validate = 0;
  CHECK(logitloss_cuda_workspace(&request, &bytes, &report) == LOGITLOSS_OK);
  CHECK(bytes == 0);
  request.logits.data = reinterpret_cast<const char*>(numbers.data()) + 2;
  CHECK(logitloss_cuda_workspace(&request, &bytes, &report) == LOGITLOSS_INVALID_ARGUMENT);
  CHECK(std::string(report.message).find("aligned to their elements") != std::string::npos);
}

TEST_CASE("a call without a device says so") {
  if (has_device()) {
    return;
  }
  const std::int64_t shape[] = {4};
  std::vector<float> numbers(4);
  logitloss_bce_request request = request_for(shape);
  request.validate = 0;
  request.logits = input(numbers.data());
  request.targets = input(numbers.data());
  request.gradient = output(numbers.data());
  logitloss_report report;
  CHECK(logitloss_cuda_bce_with_logits(&request, nullptr, nullptr, 0, &report) ==
        LOGITLOSS_DEVICE_ERROR);
  CHECK(std::string(report.message).find("CUDA driver") != std::string::npos);
}

TEST_CASE("a workspace is checked") {
  if (skips()) {
    return;
  }
  const std::int64_t shape[] = {100000};
  const std::vector<char> zeros(400000);
  DeviceMemory numbers(zeros.size());
  numbers.write(zeros);
  DeviceMemory value(sizeof(double));
  logitloss_bce_request request = request_for(shape);
  request.validate = 0;
  request.logits = request.targets = {numbers.data(), nullptr, LOGITLOSS_FLOAT32};
  request.reduction = LOGITLOSS_MEAN;
  request.value = {value.data(), nullptr, LOGITLOSS_FLOAT64};
  std::size_t bytes = 0;
  logitloss_report report;
  CHECK(logitloss_cuda_workspace(&request, &bytes, &report) == LOGITLOSS_OK);
  CHECK(bytes == 7 * 32);
  DeviceMemory workspace(8 * 32);
  const auto call = [&](void* memory, std::size_t size) {
    return logitloss_cuda_bce_with_logits(&request, nullptr, memory, size, &report);
  };
  CHECK(call(workspace.data(), bytes - 1) == LOGITLOSS_INVALID_ARGUMENT);
  CHECK(call(workspace.data() + 8, bytes) == LOGITLOSS_INVALID_ARGUMENT);
  CHECK(std::string(report.message).find("aligned to 16 bytes") != std::string::npos);
  CHECK(call(workspace.data(), bytes) == LOGITLOSS_OK);
  std::vector<char> result(sizeof(double));
  value.read(result);
  double mean = 0.0;
  std::memcpy(&mean, result.data(), sizeof mean);
  CHECK(mean == doctest::Approx(std::log(2.0)).epsilon(1e-7));
}

TEST_CASE("calls without elements") {
  if (skips()) {
    return;
  }
  const std::int64_t shape[] = {3, 0};
  std::vector<char> bytes(3 * sizeof(double), 1);
  DeviceMemory values(bytes.size());
  values.write(bytes);
  logitloss_bce_request request = request_for(shape);
  request.validate = 0;
  request.logits = request.targets = {values.data(), nullptr, LOGITLOSS_FLOAT32};
  request.reduction = LOGITLOSS_SUM;
  request.reduced_axes = 2;
  request.value = {values.data(), nullptr, LOGITLOSS_FLOAT64};
  run_on_device(request);
  values.read(bytes);
  CHECK(bytes == std::vector<char>(bytes.size(), 0));
  request.reduction = LOGITLOSS_MEAN;
  run_on_device(request);
  values.read(bytes);
  double mean = 0.0;
  std::memcpy(&mean, bytes.data() + 2 * sizeof mean, sizeof mean);
  CHECK(std::isnan(mean));
}

#if defined(LOGITLOSS_TESTS_ON_DEVICE)

void check(cudaError_t error) { REQUIRE_MESSAGE(error == cudaSuccess, cudaGetErrorString(error)); }

// A call is captured once and replayed over other numbers, on a stream of its own.
TEST_CASE("a captured call is replayed") {
  if (skips()) {
    return;
  }
  constexpr std::size_t count = 100000;
  const std::int64_t shape[] = {count};
  const auto bytes_of = [](const auto& numbers) {
    const auto* const first = reinterpret_cast<const char*>(numbers.data());
    return std::vector<char>(first, first + numbers.size() * sizeof(numbers[0]));
  };
  DeviceMemory logits(count * sizeof(float));
  DeviceMemory targets(count * sizeof(float));
  DeviceMemory gradient(count * sizeof(float));
  DeviceMemory value(sizeof(double));
  targets.write(bytes_of(soft_targets<float>(count)));
  logitloss_bce_request request = request_for(shape);
  request.validate = 0;
  request.reduction = LOGITLOSS_MEAN;
  request.logits = {logits.data(), nullptr, LOGITLOSS_FLOAT32};
  request.targets = {targets.data(), nullptr, LOGITLOSS_FLOAT32};
  request.value = {value.data(), nullptr, LOGITLOSS_FLOAT64};
  request.gradient = {gradient.data(), nullptr, LOGITLOSS_FLOAT32};
  std::size_t bytes = 0;
  logitloss_report report;
  REQUIRE(logitloss_cuda_workspace(&request, &bytes, &report) == LOGITLOSS_OK);
  DeviceMemory workspace(bytes);
  cudaStream_t stream = nullptr;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  REQUIRE(logitloss_cuda_bce_with_logits(&request, stream, workspace.data(), bytes, &report) ==
          LOGITLOSS_OK);
  check(cudaStreamEndCapture(stream, &graph));
  check(cudaGraphInstantiate(&executable, graph, 0));
  const SelectedIsa selected(isa_with_fma());
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    const std::vector<float> x = ordinary_logits<float>(count, seed);
    const std::vector<float> y = soft_targets<float>(count);
    logits.write(bytes_of(x));
    check(cudaGraphLaunch(executable, stream));
    check(cudaStreamSynchronize(stream));
    std::vector<float> expected(count);
    double mean = 0.0;
    logitloss_bce_request on_host = request;
    on_host.logits = input(x.data());
    on_host.targets = input(y.data());
    on_host.value = output(&mean);
    on_host.gradient = output(expected.data());
    run(on_host);
    std::vector<char> got(count * sizeof(float));
    gradient.read(got);
    CHECK(got == bytes_of(expected));
    std::vector<char> got_mean(sizeof mean);
    value.read(got_mean);
    CHECK(std::memcmp(got_mean.data(), &mean, sizeof mean) == 0);
  }
  check(cudaGraphExecDestroy(executable));
  check(cudaGraphDestroy(graph));
  check(cudaStreamDestroy(stream));
}

#endif

}  // namespace
}  // namespace logitloss::tests

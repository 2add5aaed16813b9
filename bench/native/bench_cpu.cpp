// Time of every kernel through the C interface, beside the time of its ceiling (see ceiling.h).
//
//     bench_cpu [--set=quick|default|all] [--seconds=S] [--all_threads=N] [--benchmark_...]
//
// A benchmark is named KERNEL/CASE/DTYPE/ISA/n:LENGTH/threads:COUNT, to which Google Benchmark adds
// what it has to say; DTYPE is that of the logits, followed by +TARGETS where the targets' differs.
// `--set` chooses what exists: `quick` takes ten seconds, `default` two minutes, `all` is every
// combination and meant to be narrowed down by `--benchmark_filter`, which is why a filter without
// `--set` selects from it. `--all_threads` is how many threads "all" are, by default what the
// library uses; 1 leaves measurements with several out.
//
// A benchmark is one iteration for Google Benchmark. In it the call and its ceiling are timed in
// turn, as often as fits into `--seconds`, and the medians are reported, because the medians of
// two things that were measured in turn have a ratio that survives a noisy machine:
//
//     Time          median of one call
//     ceiling_ns    median of its ceiling
//     of_ceiling    ceiling divided by call: 1 is as fast as moving the bytes
//     elements/s    by the call's median
//     bytes/s       what is read and written, each input and output element once; strided inputs
//                   count with the whole cache lines; repeated weights and reduced values are free
//     bytes/s_rfo   the same with the read that fills a written cache line, which ordinary stores
//                   cause where the array is not in the cache
//
// Every call validates its targets, as the Python functions do unless told otherwise. Exit status:
// 0, 1 if a benchmark could not be run, 2 for a wrong command line.

#include <benchmark/benchmark.h>
#include <logitloss/logitloss.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fstream>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "ceiling.h"

namespace logitloss::bench {
namespace {

// --- What there is -----------------------------------------------------------------------

struct Kernel {
  const char* name;
  bool value;
  bool gradient;
  bool hessian;
  logitloss_reduction reduction;

  [[nodiscard]] int outputs() const {
    const bool value_is_array = value && reduction == LOGITLOSS_NONE;
    return (value_is_array ? 1 : 0) + (gradient ? 1 : 0) + (hessian ? 1 : 0);
  }
};

constexpr Kernel kernels[] = {
    {"loss_sum", true, false, false, LOGITLOSS_SUM},
    {"loss_mean", true, false, false, LOGITLOSS_MEAN},
    {"loss_none", true, false, false, LOGITLOSS_NONE},
    {"gradient", false, true, false, LOGITLOSS_MEAN},
    {"loss+gradient", true, true, false, LOGITLOSS_MEAN},
    {"gradient+hessian", false, true, true, LOGITLOSS_MEAN},
    {"loss+gradient+hessian", true, true, true, LOGITLOSS_MEAN},
};

// Weights for each class are a row of `classes` numbers that every row of elements shares.
enum class Option {
  plain,
  class_weights,
  weight,
  where,
  ignore_index,
  label_smoothing,
  strided,
  column_major_inputs,
  column_major,
  axis_0,
  axis_1
};
constexpr const char* option_names[] = {
    "plain",   "weight+pos_weight",   "weight_each",  "where",  "ignore_index", "label_smoothing",
    "strided", "column_major_inputs", "column_major", "axis_0", "axis_1"};
constexpr std::int64_t classes = 128;

struct Dtype {
  const char* name;
  logitloss_dtype logits;
  logitloss_dtype targets;
};

constexpr Dtype dtypes[] = {
    {"float32", LOGITLOSS_FLOAT32, LOGITLOSS_FLOAT32},
    {"float32+uint8", LOGITLOSS_FLOAT32, LOGITLOSS_UINT8},
    {"float64", LOGITLOSS_FLOAT64, LOGITLOSS_FLOAT64},
    {"float64+uint8", LOGITLOSS_FLOAT64, LOGITLOSS_UINT8},
    {"float16", LOGITLOSS_FLOAT16, LOGITLOSS_FLOAT16},
    {"float16+uint8", LOGITLOSS_FLOAT16, LOGITLOSS_UINT8},
    {"float16+float32", LOGITLOSS_FLOAT16, LOGITLOSS_FLOAT32},
    {"bfloat16", LOGITLOSS_BFLOAT16, LOGITLOSS_BFLOAT16},
    {"bfloat16+uint8", LOGITLOSS_BFLOAT16, LOGITLOSS_UINT8},
    {"bfloat16+float32", LOGITLOSS_BFLOAT16, LOGITLOSS_FLOAT32},
};

constexpr int powers[] = {10, 12, 14, 16, 18, 20, 22, 24};

// Below this length a second thread is measured only in the set `all`.
constexpr int smallest_parallel_power = 16;

int width(logitloss_dtype dtype) {
  switch (dtype) {
    case LOGITLOSS_FLOAT64:
      return 8;
    case LOGITLOSS_FLOAT32:
      return 4;
    case LOGITLOSS_FLOAT16:
    case LOGITLOSS_BFLOAT16:
      return 2;
    case LOGITLOSS_UINT8:
      return 1;
    default:
      throw std::logic_error("no benchmark has this dtype");
  }
}

struct Spec {
  Kernel kernel;
  Option option;
  Dtype dtype;
  std::string isa;
  int power;
  int threads;

  [[nodiscard]] std::size_t length() const { return std::size_t{1} << power; }
  [[nodiscard]] int weight_bytes() const { return dtype.logits == LOGITLOSS_FLOAT64 ? 8 : 4; }

  [[nodiscard]] Traffic traffic() const {
    Traffic traffic;
    traffic.logit_bytes = width(dtype.logits);
    traffic.target_bytes = width(dtype.targets);
    traffic.extra_bytes =
        option == Option::where ? 1 : (option == Option::weight ? weight_bytes() : 0);
    traffic.outputs = kernel.outputs();
    traffic.step = option == Option::strided ? 2 : 1;
    return traffic;
  }

  // An axis is a matter of sums over it.
  [[nodiscard]] bool makes_sense() const {
    const bool by_axis = option == Option::axis_0 || option == Option::axis_1;
    return !(by_axis && kernel.reduction == LOGITLOSS_NONE);
  }

  [[nodiscard]] std::string name() const {
    return std::string(kernel.name) + '/' + option_names[static_cast<int>(option)] + '/' +
           dtype.name + '/' + isa + "/n:" + std::to_string(length()) +
           "/threads:" + std::to_string(threads);
  }
};

// --- Arrays ------------------------------------------------------------------------------

// Memory that is kept from one benchmark to the next and grows. It is aligned to huge pages and
// asks for them, as NumPy's allocator does, and is first written by the threads that use it.
class Buffer {
 public:
  // Arrays that start at the same offset of a page would share cache sets, and loads would wait
  // for stores to other arrays that only look like theirs. Arrays of programs seldom do.
  explicit Buffer(std::size_t number) : offset_(number * 17 * 64) {}
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { std::free(memory_); }

  // Returns whether the contents were lost.
  bool reserve(std::size_t bytes, int threads) {
    if (bytes <= size_) {
      return false;
    }
    std::free(memory_);
    const std::size_t whole = (bytes + offset_ + page - 1) / page * page;
    memory_ = static_cast<std::byte*>(std::aligned_alloc(page, whole));
    if (memory_ == nullptr) {
      size_ = 0;
      throw std::runtime_error("not enough memory");
    }
#if defined(MADV_HUGEPAGE)
    madvise(memory_, whole, MADV_HUGEPAGE);
#endif
    first_touch(memory_, whole, threads);
    size_ = bytes;
    return true;
  }

  [[nodiscard]] std::byte* data() const { return memory_ + offset_; }

 private:
  static constexpr std::size_t page = std::size_t{1} << 21;
  std::byte* memory_ = nullptr;
  std::size_t size_ = 0;
  std::size_t offset_;
};

// Steele, Lea and Flood's SplitMix64.
class Random {
 public:
  std::uint64_t bits() {
    state_ += 0x9E3779B97F4A7C15U;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31);
  }

 private:
  std::uint64_t state_ = 1;
};

// The nearest float16 towards zero, with 0 for what is below the normal numbers.
std::uint16_t truncated_half(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000U;
  const std::uint32_t magnitude = bits & 0x7FFFFFFFU;
  const std::uint32_t smallest_normal = 113U << 23;
  const std::uint32_t half = magnitude < smallest_normal ? 0 : (magnitude - (112U << 23)) >> 13;
  return static_cast<std::uint16_t>(sign | half);
}

void store(std::byte* array, std::size_t index, logitloss_dtype dtype, float value) {
  const auto put = [&](auto element) {
    std::memcpy(array + index * sizeof element, &element, sizeof element);
  };
  switch (dtype) {
    case LOGITLOSS_FLOAT64:
      return put(static_cast<double>(value));
    case LOGITLOSS_FLOAT32:
      return put(value);
    case LOGITLOSS_FLOAT16:
      return put(truncated_half(value));
    case LOGITLOSS_BFLOAT16:
      return put(static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(value) >> 16));
    default:
      return put(static_cast<std::uint8_t>(value));
  }
}

constexpr float ignored_float = -1.0F;
constexpr float ignored_byte = 255.0F;

float ignored(logitloss_dtype targets) {
  return targets == LOGITLOSS_UINT8 ? ignored_byte : ignored_float;
}

// The operands of all benchmarks. Numbers are made again only where a dtype changes or an array
// has grown, so that going through the lengths costs little.
class Operands {
 public:
  void prepare(const Spec& spec) {
    const std::size_t length = spec.length();
    const Traffic traffic = spec.traffic();
    const std::size_t inputs = length * static_cast<std::size_t>(traffic.step);
    const bool missing = spec.option == Option::ignore_index;

    const auto bytes = [](std::size_t count, int each) {
      return count * static_cast<std::size_t>(each);
    };
    bool stale = logits.reserve(bytes(inputs, traffic.logit_bytes), spec.threads);
    stale |= made_logits_ != spec.dtype.logits || inputs > made_logits_length_;
    if (stale) {
      Random random;
      for (std::size_t i = 0; i < inputs; ++i) {
        const float fraction = static_cast<float>(random.bits() >> 40) * 0x1p-24F;
        store(logits.data(), i, spec.dtype.logits, 24.0F * fraction - 12.0F);
      }
      made_logits_ = spec.dtype.logits;
      made_logits_length_ = inputs;
    }

    stale = targets.reserve(bytes(inputs, traffic.target_bytes), spec.threads);
    stale |= made_targets_ != spec.dtype.targets || inputs > made_targets_length_ ||
             missing != made_missing_;
    if (stale) {
      Random random;
      for (std::size_t i = 0; i < inputs; ++i) {
        const std::uint64_t number = random.bits() >> 32;
        const bool is_missing = missing && number % 10 == 0;
        const float label = (number & 1024U) != 0 ? 1.0F : 0.0F;
        store(targets.data(), i, spec.dtype.targets,
              is_missing ? ignored(spec.dtype.targets) : label);
      }
      made_targets_ = spec.dtype.targets;
      made_targets_length_ = inputs;
      made_missing_ = missing;
    }

    const auto weights = static_cast<std::size_t>(spec.option == Option::weight ? length : classes);
    const logitloss_dtype weight_dtype =
        spec.weight_bytes() == 8 ? LOGITLOSS_FLOAT64 : LOGITLOSS_FLOAT32;
    for (Buffer* buffer : {&weight, &pos_weight}) {
      buffer->reserve(bytes(buffer == &weight ? weights : classes, spec.weight_bytes()),
                      spec.threads);
    }
    Random random;
    const auto draw = [&] { return 0.5F + static_cast<float>(random.bits() >> 40) * 0x1p-24F; };
    for (std::size_t i = 0; i < weights; ++i) {
      store(weight.data(), i, weight_dtype, draw());
    }
    for (std::size_t i = 0; i < static_cast<std::size_t>(classes); ++i) {
      store(pos_weight.data(), i, weight_dtype, draw());
    }

    if (spec.option == Option::where) {
      where.reserve(length, spec.threads);
      for (std::size_t i = 0; i < length; ++i) {
        where.data()[i] = std::byte{(random.bits() >> 32) % 10 != 0};
      }
    }
    // The value over axis 1 has fewer elements than the inputs, but they are float64.
    value.reserve(bytes(length, std::max(traffic.logit_bytes, 8)), spec.threads);
    gradient.reserve(bytes(length, traffic.logit_bytes), spec.threads);
    hessian.reserve(bytes(length, traffic.logit_bytes), spec.threads);
  }

  Buffer logits{0};
  Buffer targets{1};
  Buffer weight{2};
  Buffer pos_weight{3};
  Buffer where{4};
  Buffer value{5};
  Buffer gradient{6};
  Buffer hessian{7};

 private:
  std::optional<logitloss_dtype> made_logits_;
  std::optional<logitloss_dtype> made_targets_;
  std::size_t made_logits_length_ = 0;
  std::size_t made_targets_length_ = 0;
  bool made_missing_ = false;
};

Operands& operands() {
  static Operands all;
  return all;
}

// --- A call ------------------------------------------------------------------------------

// A request with the shapes and strides that it points to.
class Call {
 public:
  Call(const Spec& spec, const Operands& arrays) {
    const auto length = static_cast<std::int64_t>(spec.length());
    const Option option = spec.option;
    request_.struct_size = sizeof request_;
    request_.ndim = 2;
    request_.shape = shape_;
    request_.reduction = spec.kernel.reduction;
    request_.reduced_axes = 3;
    request_.validate = 1;
    request_.num_threads = spec.threads;

    shape_[0] = length / classes;
    shape_[1] = classes;
    const std::int32_t weight_dtype =
        spec.weight_bytes() == 8 ? LOGITLOSS_FLOAT64 : LOGITLOSS_FLOAT32;
    request_.logits = {arrays.logits.data(), nullptr, spec.dtype.logits};
    request_.targets = {arrays.targets.data(), nullptr, spec.dtype.targets};
    const ptrdiff_t* result_strides = nullptr;
    const ptrdiff_t logit_bytes = width(spec.dtype.logits);
    const ptrdiff_t target_bytes = width(spec.dtype.targets);

    switch (option) {
      case Option::plain:
        break;
      case Option::class_weights:
        set(weight_strides_, 0, spec.weight_bytes());
        request_.weight = {arrays.weight.data(), weight_strides_, weight_dtype};
        request_.pos_weight = {arrays.pos_weight.data(), weight_strides_, weight_dtype};
        break;
      case Option::weight:
        request_.weight = {arrays.weight.data(), nullptr, weight_dtype};
        break;
      case Option::where:
        request_.where = {arrays.where.data(), nullptr, LOGITLOSS_BOOL};
        break;
      case Option::ignore_index:
        request_.has_ignore_index = 1;
        request_.ignore_index = ignored(spec.dtype.targets);
        break;
      case Option::label_smoothing:
        request_.label_smoothing = 0.1;
        break;
      case Option::strided:
        request_.ndim = 1;
        request_.reduced_axes = 1;
        shape_[0] = length;
        set(logit_strides_, 2 * logit_bytes, 0);
        set(target_strides_, 2 * target_bytes, 0);
        request_.logits.strides = logit_strides_;
        request_.targets.strides = target_strides_;
        break;
      case Option::column_major_inputs:
      case Option::column_major:
        // As square as it can be: the strides are powers of two, the hardest for caches.
        shape_[0] = std::int64_t{1} << ((spec.power + 1) / 2);
        shape_[1] = length / shape_[0];
        set(logit_strides_, logit_bytes, logit_bytes * shape_[0]);
        set(target_strides_, target_bytes, target_bytes * shape_[0]);
        request_.logits.strides = logit_strides_;
        request_.targets.strides = target_strides_;
        result_strides = option == Option::column_major ? logit_strides_ : nullptr;
        break;
      case Option::axis_0:
        request_.reduced_axes = 1;
        set(value_strides_, 0, 8);
        break;
      case Option::axis_1:
        request_.reduced_axes = 2;
        set(value_strides_, 8, 0);
        break;
    }

    if (spec.kernel.value) {
      const bool reduced = spec.kernel.reduction != LOGITLOSS_NONE;
      request_.value = {arrays.value.data(), reduced ? value_strides_ : result_strides,
                        reduced ? LOGITLOSS_FLOAT64 : spec.dtype.logits};
    }
    if (spec.kernel.gradient) {
      request_.gradient = {arrays.gradient.data(), result_strides, spec.dtype.logits};
    }
    if (spec.kernel.hessian) {
      request_.hessian = {arrays.hessian.data(), result_strides, spec.dtype.logits};
    }
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  logitloss_status run() {
    const logitloss_status status = logitloss_bce_with_logits(&request_, &report_);
    benchmark::ClobberMemory();
    return status;
  }

  [[nodiscard]] const char* message() const { return report_.message; }

 private:
  static void set(ptrdiff_t (&strides)[2], ptrdiff_t outer, ptrdiff_t inner) {
    strides[0] = outer;
    strides[1] = inner;
  }

  logitloss_bce_request request_{};
  logitloss_report report_{};
  std::int64_t shape_[2] = {};
  ptrdiff_t logit_strides_[2] = {};
  ptrdiff_t target_strides_[2] = {};
  ptrdiff_t weight_strides_[2] = {};
  ptrdiff_t value_strides_[2] = {};
};

// The arrays that the ceiling of a call reads and writes: the same ones.
Streams streams_of(const Spec& spec, const Operands& arrays) {
  Streams streams;
  streams.logits = arrays.logits.data();
  streams.targets = arrays.targets.data();
  streams.extra = spec.option == Option::where ? arrays.where.data() : arrays.weight.data();
  std::size_t count = 0;
  if (spec.kernel.value && spec.kernel.reduction == LOGITLOSS_NONE) {
    streams.outputs[count++] = arrays.value.data();
  }
  if (spec.kernel.gradient) {
    streams.outputs[count++] = arrays.gradient.data();
  }
  if (spec.kernel.hessian) {
    streams.outputs[count++] = arrays.hessian.data();
  }
  return streams;
}

// --- Timing ------------------------------------------------------------------------------

using Clock = std::chrono::steady_clock;

double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

double median(std::vector<double> numbers) {
  const auto middle = numbers.begin() + static_cast<std::ptrdiff_t>(numbers.size() / 2);
  std::nth_element(numbers.begin(), middle, numbers.end());
  return *middle;
}

// So many elements between two readings of the clock that reading it does not show.
constexpr std::size_t elements_per_reading = std::size_t{1} << 15;
constexpr std::size_t fewest_samples = 7;

// Google Benchmark itself ends with 0 whatever its benchmarks report.
bool something_failed = false;

void fail(benchmark::State& state, const std::string& reason) {
  something_failed = true;
  state.SkipWithError(reason.c_str());
}

void measure(benchmark::State& state, const Spec& spec, double seconds) {
  if (logitloss_select_isa(spec.isa.c_str()) != LOGITLOSS_OK) {
    fail(state, "this processor lacks the instruction set");
    return;
  }
  const CeilingLoop ceiling = find_ceiling(spec.traffic());
  if (ceiling == nullptr) {
    fail(state, "there is no ceiling for this traffic");
    return;
  }
  Operands& arrays = operands();
  arrays.prepare(spec);
  Call call(spec, arrays);
  const Streams streams = streams_of(spec, arrays);
  const std::size_t length = spec.length();

  if (call.run() != LOGITLOSS_OK) {
    fail(state, std::string("the call failed: ") + call.message());
    return;
  }
  const std::size_t batch = std::max<std::size_t>(1, elements_per_reading / length);
  std::vector<double> calls;
  std::vector<double> ceilings;
  for ([[maybe_unused]] auto iteration : state) {
    const Clock::time_point start = Clock::now();
    do {
      const Clock::time_point before = Clock::now();
      for (std::size_t i = 0; i < batch; ++i) {
        benchmark::DoNotOptimize(call.run());
      }
      const Clock::time_point between = Clock::now();
      for (std::size_t i = 0; i < batch; ++i) {
        benchmark::DoNotOptimize(ceiling(streams, length, spec.threads));
        benchmark::ClobberMemory();
      }
      const Clock::time_point after = Clock::now();
      calls.push_back(seconds_between(before, between) / static_cast<double>(batch));
      ceilings.push_back(seconds_between(between, after) / static_cast<double>(batch));
    } while (calls.size() < fewest_samples || seconds_between(start, Clock::now()) < seconds);
    state.SetIterationTime(median(calls));
  }

  const double time = median(calls);
  const double least = median(ceilings);
  const Traffic traffic = spec.traffic();
  const auto per_second = [&](int each) { return static_cast<double>(length) * each / time; };
  state.counters["of_ceiling"] = least / time;
  state.counters["ceiling_ns"] = least * 1e9;
  state.counters["elements/s"] = per_second(1);
  const int moved = traffic.read() + traffic.written();
  state.counters["bytes/s"] = per_second(moved);
  state.counters["bytes/s_rfo"] = per_second(moved + traffic.written());
  state.counters["samples"] = static_cast<double>(calls.size());
}

// --- Sets --------------------------------------------------------------------------------

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (std::int32_t i = 0; logitloss_available_isa(i) != nullptr; ++i) {
    names.emplace_back(logitloss_available_isa(i));
  }
  return names;
}

bool is_one_of(std::string_view name, std::initializer_list<std::string_view> names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool is_one_of(int power, std::initializer_list<int> some) {
  return std::find(some.begin(), some.end(), power) != some.end();
}

// Three kernels on plain float32, from cache to memory.
bool in_quick_set(const Spec& spec, const std::string& best_isa) {
  return spec.option == Option::plain && spec.dtype.name == std::string_view("float32") &&
         spec.isa == best_isa && is_one_of(spec.power, {12, 20, 24}) &&
         (spec.threads == 1 || spec.power >= smallest_parallel_power) &&
         is_one_of(spec.kernel.name, {"loss_mean", "gradient", "loss+gradient"});
}

// What can change is looked at along one line each: kernels and lengths, threads, dtypes, options,
// instruction sets.
bool in_default_set(const Spec& spec, const std::string& best_isa) {
  const bool plain = spec.option == Option::plain;
  const bool float32 = spec.dtype.name == std::string_view("float32");
  const bool best = spec.isa == best_isa;
  const bool main_kernel = is_one_of(spec.kernel.name, {"loss_mean", "gradient", "loss+gradient"});
  const bool pair = is_one_of(spec.kernel.name, {"loss_mean", "loss+gradient"});
  if (spec.threads > 1) {
    return plain && float32 && best && main_kernel && spec.power >= smallest_parallel_power;
  }
  return (plain && float32 && best) ||
         (plain && best && pair && is_one_of(spec.power, {12, 20, 24})) ||
         (float32 && best && pair && is_one_of(spec.power, {20, 24})) ||
         (plain && float32 && main_kernel && is_one_of(spec.power, {12, 24}));
}

struct Arguments {
  std::string set = "default";
  double seconds = 0.3;
  int all_threads = 1;
};

void register_all(const Arguments& arguments) {
  const std::vector<std::string> isas = available_isas();
  const std::string best_isa = logitloss_isa();
  std::vector<int> threads = {1};
  if (arguments.all_threads > 1) {
    threads.push_back(arguments.all_threads);
  }
  for (const Dtype& dtype : dtypes) {
    for (int option = 0; option <= static_cast<int>(Option::axis_1); ++option) {
      for (const std::string& isa : isas) {
        for (const int count : threads) {
          for (const Kernel& kernel : kernels) {
            for (const int power : powers) {
              const Spec spec{kernel, static_cast<Option>(option), dtype, isa, power, count};
              const bool wanted = arguments.set == "all" ||
                                  (arguments.set == "quick" ? in_quick_set(spec, best_isa)
                                                            : in_default_set(spec, best_isa));
              if (!wanted || !spec.makes_sense()) {
                continue;
              }
              const double seconds = arguments.seconds;
              benchmark::RegisterBenchmark(
                  spec.name().c_str(),
                  [spec, seconds](benchmark::State& state) { measure(state, spec, seconds); })
                  ->Iterations(1)
                  ->UseManualTime()
                  ->Unit(benchmark::kMicrosecond);
            }
          }
        }
      }
    }
  }
}

// --- The program -------------------------------------------------------------------------

std::string first_line(const char* path, std::string_view key = "") {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.compare(0, key.size(), key) == 0) {
      return key.empty() ? line : line.substr(line.find(':') + 2);
    }
  }
  return "unknown";
}

// What a result depends on beside the code.
void add_context() {
  std::string isas;
  for (const std::string& isa : available_isas()) {
    isas += (isas.empty() ? "" : ", ") + isa;
  }
  benchmark::AddCustomContext("processor", first_line("/proc/cpuinfo", "model name"));
  benchmark::AddCustomContext("transparent_huge_pages",
                              first_line("/sys/kernel/mm/transparent_hugepage/enabled"));
  benchmark::AddCustomContext("logitloss", logitloss_version());
  benchmark::AddCustomContext("logitloss_compiler", logitloss_compiler());
  benchmark::AddCustomContext("instruction_sets", isas);
  benchmark::AddCustomContext("ceiling_compiler", LOGITLOSS_CEILING_FLAGS);
}

// Takes the program's own options out of the command line and leaves the rest.
Arguments parse(int& argc, char** argv) {
  Arguments arguments;
  arguments.all_threads = logitloss_get_num_threads();
  bool filtered = false;
  bool set_given = false;
  int kept = 1;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    const auto value_of = [&](std::string_view option) -> std::optional<std::string> {
      if (argument.substr(0, option.size()) != option) {
        return std::nullopt;
      }
      return std::string(argument.substr(option.size()));
    };
    if (const auto set = value_of("--set=")) {
      if (!is_one_of(*set, {"quick", "default", "all"})) {
        throw std::invalid_argument("--set takes quick, default or all, not " + *set);
      }
      arguments.set = *set;
      set_given = true;
    } else if (const auto seconds = value_of("--seconds=")) {
      arguments.seconds = std::stod(*seconds);
    } else if (const auto threads = value_of("--all_threads=")) {
      arguments.all_threads = std::stoi(*threads);
    } else {
      filtered |= value_of("--benchmark_filter=").has_value();
      argv[kept++] = argv[i];
    }
  }
  argc = kept;
  if (filtered && !set_given) {
    arguments.set = "all";
  }
  return arguments;
}

int run_program(int argc, char** argv) {
  const Arguments arguments = parse(argc, argv);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) {
    return 2;
  }
  add_context();
  register_all(arguments);
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return something_failed ? 1 : 0;
}

}  // namespace
}  // namespace logitloss::bench

int main(int argc, char** argv) {
  try {
    return logitloss::bench::run_program(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_cpu: %s\n", error.what());
    return 2;
  }
}

// Time of calls on a CUDA device through the C interface, beside the time of a copy on that device.
//
//     bench_cuda [--quick] [--filter=TEXT] [--seconds=S] [--json=FILE] [--help]
//
// A case is named KERNEL/DTYPE/n:LENGTH; DTYPE is that of the logits, followed by +TARGETS where
// the targets' differs. Arrays are contiguous, and reductions are means.
//
// In turn a batch of calls and batches of copies that move the same bytes are enqueued on one
// stream, with CUDA events around each; medians over such rounds are reported. A copy is
// cudaMemcpyAsync or a kernel that moves 16 bytes a thread, whichever is faster. Calls and copies
// go from buffer to buffer, over more memory than the second-level cache holds, so that every
// element comes from the device's memory. Before a case is timed, its results up to 2^20 elements
// are compared with the CPU's, bit by bit.
//
//     us/call     a call in a row of calls on the stream; for small ones it is that of launching
//     us/host     what the host's thread spends to enqueue one
//     GB/s        each input read once and each output written once
//     of copy     that divided by what the copy moves, read and written
//
// Exit status: 0; 1 if a result was wrong or CUDA failed; 2 for a wrong command line or where
// there is no device.

#include <cuda_runtime_api.h>
#include <logitloss/logitloss.h>
#include <logitloss/logitloss_cuda.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

void check(cudaError_t error, const char* what) {
  if (error != cudaSuccess) {
    throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(error));
  }
}

// --- What there is -----------------------------------------------------------------------

struct Kernel {
  const char* name;
  bool value;
  bool gradient;
  bool hessian;
};

constexpr Kernel kernels[] = {
    {"loss", true, false, false},
    {"gradient", false, true, false},
    {"loss+gradient", true, true, false},
    {"gradient+hessian", false, true, true},
};

struct Dtype {
  const char* name;
  logitloss_dtype logits;
  logitloss_dtype targets;
};

constexpr Dtype dtypes[] = {
    {"float32", LOGITLOSS_FLOAT32, LOGITLOSS_FLOAT32},
    {"float32+uint8", LOGITLOSS_FLOAT32, LOGITLOSS_UINT8},
    {"bfloat16", LOGITLOSS_BFLOAT16, LOGITLOSS_BFLOAT16},
    {"bfloat16+uint8", LOGITLOSS_BFLOAT16, LOGITLOSS_UINT8},
};

constexpr int powers[] = {10, 12, 14, 16, 18, 20, 22, 24, 26, 27, 28, 29};
constexpr int quick_powers[] = {12, 20, 24, 28};
constexpr int largest_checked_power = 20;

std::size_t width(logitloss_dtype dtype) {
  return dtype == LOGITLOSS_FLOAT32 ? 4 : (dtype == LOGITLOSS_BFLOAT16 ? 2 : 1);
}

struct Case {
  Kernel kernel;
  Dtype dtype;
  int power;

  std::size_t length() const { return std::size_t{1} << power; }
  std::size_t outputs() const { return (kernel.gradient ? 1U : 0U) + (kernel.hessian ? 1U : 0U); }
  // Read and written by a call.
  std::size_t bytes() const {
    return length() * (width(dtype.logits) * (1 + outputs()) + width(dtype.targets));
  }
  std::string name() const {
    return std::string(kernel.name) + '/' + dtype.name + "/n:" + std::to_string(length());
  }
};

// --- Command line ------------------------------------------------------------------------

struct Arguments {
  bool is_quick = false;
  bool wants_help = false;
  std::string filter;
  double seconds = 0.25;
  std::string json;
};

constexpr const char* usage =
    "usage: bench_cuda [--quick] [--filter=TEXT] [--seconds=S] [--json=FILE] [--help]\n"
    "\n"
    "Times loss, gradient, loss+gradient and gradient+hessian on the current CUDA device,\n"
    "beside a copy on that device.\n"
    "\n"
    "  --quick        four lengths, 0.1 s each\n"
    "  --filter=TEXT  cases whose name, such as loss+gradient/float32/n:1024, has TEXT\n"
    "  --seconds=S    time for each case (default: 0.25)\n"
    "  --json=FILE    write the results to FILE as JSON\n";

Arguments parse(int count, char** words) {
  Arguments arguments;
  bool has_seconds = false;
  for (int k = 1; k < count; ++k) {
    const std::string_view word = words[k];
    const auto value_of = [&](std::string_view option) {
      const bool is_given = word.substr(0, option.size()) == option;
      if (is_given && word.size() == option.size()) {
        throw UsageError(std::string(option) + " needs a value");
      }
      return is_given ? std::string(word.substr(option.size())) : std::string();
    };
    if (word == "--help" || word == "-h") {
      arguments.wants_help = true;
    } else if (word == "--quick") {
      arguments.is_quick = true;
    } else if (const std::string filter = value_of("--filter="); !filter.empty()) {
      arguments.filter = filter;
    } else if (const std::string json = value_of("--json="); !json.empty()) {
      arguments.json = json;
    } else if (const std::string seconds = value_of("--seconds="); !seconds.empty()) {
      char* end = nullptr;
      arguments.seconds = std::strtod(seconds.c_str(), &end);
      has_seconds = true;
      if (*end != '\0' || !(arguments.seconds > 0.0 && arguments.seconds <= 60.0)) {
        throw UsageError("--seconds must be a number up to 60, not " + seconds);
      }
    } else {
      throw UsageError("unknown option " + std::string(word) + "; --help lists them");
    }
  }
  if (arguments.is_quick && !has_seconds) {
    arguments.seconds = 0.1;
  }
  return arguments;
}

std::vector<Case> cases_of(const Arguments& arguments) {
  const std::vector<int> chosen =
      arguments.is_quick ? std::vector<int>(std::begin(quick_powers), std::end(quick_powers))
                         : std::vector<int>(std::begin(powers), std::end(powers));
  std::vector<Case> cases;
  for (const Dtype& dtype : dtypes) {
    for (const Kernel& kernel : kernels) {
      for (const int power : chosen) {
        const Case one{kernel, dtype, power};
        if (one.name().find(arguments.filter) != std::string::npos) {
          cases.push_back(one);
        }
      }
    }
  }
  if (cases.empty()) {
    throw UsageError("no case has " + arguments.filter + " in its name");
  }
  return cases;
}

// --- Memory ------------------------------------------------------------------------------

class DeviceMemory {
 public:
  explicit DeviceMemory(std::size_t bytes) {
    check(cudaMalloc(&data_, std::max<std::size_t>(bytes, 1)), "cudaMalloc");
  }
  ~DeviceMemory() { cudaFree(data_); }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  char* data() const { return static_cast<char*>(data_); }

 private:
  void* data_ = nullptr;
};

// Mixes the bits of an index (Steele, Lea and Flood's SplitMix64).
__device__ std::uint64_t mixed(std::uint64_t z) {
  z += 0x9E3779B97F4A7C15U;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
  return z ^ (z >> 31);
}

__device__ void put(float* target, float value) { *target = value; }
__device__ void put(unsigned char* target, float value) {
  *target = static_cast<unsigned char>(value);
}
// A bfloat16 by its bits, rounded towards zero.
__device__ void put(unsigned short* target, float value) {
  *target = static_cast<unsigned short>(__float_as_uint(value) >> 16);
}

// Logits between -12 and 12, or labels.
template <class Element>
__global__ void fill(Element* array, std::size_t count, bool are_labels) {
  const std::size_t step = static_cast<std::size_t>(gridDim.x) * blockDim.x;
  std::size_t k = static_cast<std::size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  for (; k < count; k += step) {
    const std::uint64_t bits = mixed(2 * k + (are_labels ? 1 : 0));
    const float fraction = static_cast<float>(bits >> 40) * 0x1p-24F;
    put(array + k, are_labels ? static_cast<float>(bits >> 63) : 24.0F * fraction - 12.0F);
  }
}

void fill_array(char* array, logitloss_dtype dtype, std::size_t count, bool are_labels) {
  constexpr unsigned blocks = 4096;
  constexpr unsigned threads = 256;
  switch (dtype) {
    case LOGITLOSS_FLOAT32:
      fill<<<blocks, threads>>>(reinterpret_cast<float*>(array), count, are_labels);
      break;
    case LOGITLOSS_BFLOAT16:
      fill<<<blocks, threads>>>(reinterpret_cast<unsigned short*>(array), count, are_labels);
      break;
    default:
      fill<<<blocks, threads>>>(reinterpret_cast<unsigned char*>(array), count, are_labels);
  }
  check(cudaGetLastError(), "fill");
}

constexpr unsigned copy_threads = 256;
constexpr unsigned copies_per_thread = 4;

__global__ void copy_packs(const uint4* source, uint4* target, std::size_t count) {
  const std::size_t first =
      static_cast<std::size_t>(blockIdx.x) * copy_threads * copies_per_thread + threadIdx.x;
  uint4 packs[copies_per_thread];
#pragma unroll
  for (unsigned k = 0; k < copies_per_thread; ++k) {
    const std::size_t at = first + k * copy_threads;
    packs[k] = at < count ? source[at] : uint4{};
  }
#pragma unroll
  for (unsigned k = 0; k < copies_per_thread; ++k) {
    const std::size_t at = first + k * copy_threads;
    if (at < count) {
      target[at] = packs[k];
    }
  }
}

// Several copies of the arrays of a call, and of those of a device copy that moves as many bytes.
class Buffers {
 public:
  Buffers(const Case& one, std::size_t sets)
      : one_(one),
        sets_(sets),
        logits_(sets * one.length() * width(one.dtype.logits)),
        targets_(sets * one.length() * width(one.dtype.targets)),
        gradients_(one.kernel.gradient ? sets * one.length() * width(one.dtype.logits) : 0),
        hessians_(one.kernel.hessian ? sets * one.length() * width(one.dtype.logits) : 0),
        values_(sets * sizeof(double)),
        workspace_(workspace_bytes_of(one)),
        workspace_bytes_(workspace_bytes_of(one)),
        sources_(sets * copied_bytes()),
        copies_(sets * copied_bytes()) {
    fill_array(logits_.data(), one.dtype.logits, sets * one.length(), false);
    fill_array(targets_.data(), one.dtype.targets, sets * one.length(), true);
    check(cudaMemset(sources_.data(), 1, sets * copied_bytes()), "cudaMemset");
    check(cudaDeviceSynchronize(), "preparing arrays");
  }

  static std::size_t bytes_of(const Case& one, std::size_t sets) {
    return sets * (2 * one.bytes() + sizeof(double) + 64) + (std::size_t{64} << 20);
  }

  std::size_t sets() const { return sets_; }

  logitloss_status call(std::size_t set, cudaStream_t stream, logitloss_report& report) const {
    const std::int64_t shape[] = {static_cast<std::int64_t>(one_.length())};
    const logitloss_bce_request request = request_of(set, shape);
    return logitloss_cuda_bce_with_logits(&request, stream, workspace_.data(), workspace_bytes_,
                                          &report);
  }

  void copy_by_library(std::size_t set, cudaStream_t stream) const {
    const std::size_t at = set * copied_bytes();
    check(cudaMemcpyAsync(copies_.data() + at, sources_.data() + at, copied_bytes(),
                          cudaMemcpyDeviceToDevice, stream),
          "cudaMemcpyAsync");
  }

  void copy_by_kernel(std::size_t set, cudaStream_t stream) const {
    constexpr std::size_t each = copy_threads * copies_per_thread;
    const std::size_t at = set * copied_bytes();
    const std::size_t packs = copied_bytes() / sizeof(uint4);
    copy_packs<<<static_cast<unsigned>((packs + each - 1) / each), copy_threads, 0, stream>>>(
        reinterpret_cast<const uint4*>(sources_.data() + at),
        reinterpret_cast<uint4*>(copies_.data() + at), packs);
    check(cudaGetLastError(), "copy_packs");
  }

  // Whether the results of the first set are those of the CPU.
  bool are_as_on_cpu() const {
    const std::size_t count = one_.length();
    const auto logits = read(logits_.data(), count * width(one_.dtype.logits));
    const auto targets = read(targets_.data(), count * width(one_.dtype.targets));
    std::vector<char> gradient(one_.kernel.gradient ? logits.size() : 0);
    std::vector<char> hessian(one_.kernel.hessian ? logits.size() : 0);
    std::vector<char> value(one_.kernel.value ? sizeof(double) : 0);
    const std::int64_t shape[] = {static_cast<std::int64_t>(count)};
    logitloss_bce_request request = request_of(0, shape);
    request.logits.data = logits.data();
    request.targets.data = targets.data();
    request.gradient.data = gradient.empty() ? nullptr : gradient.data();
    request.hessian.data = hessian.empty() ? nullptr : hessian.data();
    request.value.data = value.empty() ? nullptr : value.data();
    logitloss_report report;
    if (logitloss_bce_with_logits(&request, &report) != LOGITLOSS_OK) {
      throw std::runtime_error(std::string("the call on the CPU failed: ") + report.message);
    }
    return read(gradients_.data(), gradient.size()) == gradient &&
           read(hessians_.data(), hessian.size()) == hessian &&
           read(values_.data(), value.size()) == value;
  }

 private:
  // A multiple of 16: lengths are powers of two from 2^10 on.
  std::size_t copied_bytes() const { return one_.bytes() / 2 / sizeof(uint4) * sizeof(uint4); }

  static std::vector<char> read(const char* source, std::size_t bytes) {
    std::vector<char> result(bytes);
    check(cudaMemcpy(result.data(), source, bytes, cudaMemcpyDeviceToHost), "cudaMemcpy");
    return result;
  }

  static logitloss_bce_request empty_request(const Case& one, const std::int64_t* shape) {
    logitloss_bce_request request{};
    request.struct_size = sizeof request;
    request.ndim = 1;
    request.shape = shape;
    request.reduction = LOGITLOSS_MEAN;
    request.reduced_axes = ~std::uint64_t{0};
    request.logits.dtype = request.gradient.dtype = request.hessian.dtype = one.dtype.logits;
    request.targets.dtype = one.dtype.targets;
    request.value.dtype = LOGITLOSS_FLOAT64;
    return request;
  }

  static std::size_t workspace_bytes_of(const Case& one) {
    // Only whether there are arrays, and how they are aligned, is looked at.
    alignas(16) static char anywhere[16];
    const std::int64_t shape[] = {static_cast<std::int64_t>(one.length())};
    logitloss_bce_request request = empty_request(one, shape);
    request.logits.data = request.targets.data = anywhere;
    request.gradient.data = one.kernel.gradient ? anywhere : nullptr;
    request.hessian.data = one.kernel.hessian ? anywhere : nullptr;
    request.value.data = one.kernel.value ? anywhere : nullptr;
    std::size_t bytes = 0;
    logitloss_report report;
    if (logitloss_cuda_workspace(&request, &bytes, &report) != LOGITLOSS_OK) {
      throw std::runtime_error(std::string("no workspace: ") + report.message);
    }
    return bytes;
  }

  logitloss_bce_request request_of(std::size_t set, const std::int64_t* shape) const {
    const std::size_t first = set * one_.length();
    const std::size_t result_at = first * width(one_.dtype.logits);
    logitloss_bce_request request = empty_request(one_, shape);
    request.logits.data = logits_.data() + result_at;
    request.targets.data = targets_.data() + first * width(one_.dtype.targets);
    request.gradient.data = one_.kernel.gradient ? gradients_.data() + result_at : nullptr;
    request.hessian.data = one_.kernel.hessian ? hessians_.data() + result_at : nullptr;
    request.value.data = one_.kernel.value ? values_.data() + set * sizeof(double) : nullptr;
    return request;
  }

  Case one_;
  std::size_t sets_;
  DeviceMemory logits_;
  DeviceMemory targets_;
  DeviceMemory gradients_;
  DeviceMemory hessians_;
  DeviceMemory values_;
  DeviceMemory workspace_;
  std::size_t workspace_bytes_;
  DeviceMemory sources_;
  DeviceMemory copies_;
};

// --- Timing ------------------------------------------------------------------------------

class Stream {
 public:
  Stream() { check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "a stream"); }
  ~Stream() { cudaStreamDestroy(stream_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  cudaStream_t get() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

class Event {
 public:
  Event() { check(cudaEventCreate(&event_), "an event"); }
  ~Event() { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  void record(cudaStream_t stream) { check(cudaEventRecord(event_, stream), "cudaEventRecord"); }
  void wait() const { check(cudaEventSynchronize(event_), "cudaEventSynchronize"); }
  double microseconds_since(const Event& before) const {
    float milliseconds = 0.0F;
    check(cudaEventElapsedTime(&milliseconds, before.event_, event_), "cudaEventElapsedTime");
    return 1e3 * static_cast<double>(milliseconds);
  }

 private:
  cudaEvent_t event_ = nullptr;
};

double median(std::vector<double> numbers) {
  const auto middle = numbers.begin() + static_cast<std::ptrdiff_t>(numbers.size() / 2);
  std::nth_element(numbers.begin(), middle, numbers.end());
  return *middle;
}

struct Timing {
  std::size_t sets = 0;
  std::size_t batch = 0;
  std::size_t rounds = 0;
  double call = 0.0;
  double host = 0.0;
  double copy_by_library = 0.0;
  double copy_by_kernel = 0.0;

  double copy() const { return std::min(copy_by_library, copy_by_kernel); }
};

using Clock = std::chrono::steady_clock;

constexpr std::size_t fewest_rounds = 7;
constexpr std::size_t most_rounds = 501;

class Stopwatch {
 public:
  Stopwatch(const Buffers& buffers, std::size_t batch) : buffers_(buffers), batch_(batch) {}

  Timing measure(double seconds) {
    round();
    for (std::vector<double>* times : {&calls_, &hosts_, &library_copies_, &kernel_copies_}) {
      times->clear();
    }
    const Clock::time_point start = Clock::now();
    const auto elapsed = [&] {
      return std::chrono::duration<double>(Clock::now() - start).count();
    };
    while (calls_.size() < fewest_rounds || (elapsed() < seconds && calls_.size() < most_rounds)) {
      round();
    }
    return {buffers_.sets(),       batch_,         calls_.size(),
            median(calls_),        median(hosts_), median(library_copies_),
            median(kernel_copies_)};
  }

 private:
  void round() {
    logitloss_report report;
    before_.record(stream_.get());
    const Clock::time_point start = Clock::now();
    each([&](std::size_t set) {
      if (buffers_.call(set, stream_.get(), report) != LOGITLOSS_OK) {
        throw std::runtime_error(std::string("a call failed: ") + report.message);
      }
    });
    const std::chrono::duration<double, std::micro> host = Clock::now() - start;
    called_.record(stream_.get());
    each([&](std::size_t set) { buffers_.copy_by_library(set, stream_.get()); });
    copied_.record(stream_.get());
    each([&](std::size_t set) { buffers_.copy_by_kernel(set, stream_.get()); });
    after_.record(stream_.get());
    after_.wait();
    const auto count = static_cast<double>(batch_);
    calls_.push_back(called_.microseconds_since(before_) / count);
    hosts_.push_back(host.count() / count);
    library_copies_.push_back(copied_.microseconds_since(called_) / count);
    kernel_copies_.push_back(after_.microseconds_since(copied_) / count);
    next_ = (next_ + batch_) % buffers_.sets();
  }

  template <class Visit>
  void each(Visit visit) const {
    for (std::size_t k = 0; k < batch_; ++k) {
      visit((next_ + k) % buffers_.sets());
    }
  }

  const Buffers& buffers_;
  std::size_t batch_;
  std::size_t next_ = 0;
  Stream stream_;
  Event before_;
  Event called_;
  Event copied_;
  Event after_;
  std::vector<double> calls_;
  std::vector<double> hosts_;
  std::vector<double> library_copies_;
  std::vector<double> kernel_copies_;
};

// --- Cases -------------------------------------------------------------------------------

struct Machine {
  cudaDeviceProp properties{};
  int driver = 0;
  int runtime = 0;
};

struct Row {
  Case one;
  Timing timing;

  double bytes_per_second() const { return static_cast<double>(one.bytes()) / timing.call * 1e6; }
  double elements_per_second() const {
    return static_cast<double>(one.length()) / timing.call * 1e6;
  }
  double copy_bytes_per_second() const {
    return static_cast<double>(one.bytes()) / timing.copy() * 1e6;
  }
  double share() const { return timing.copy() / timing.call; }
};

// So many sets that going through them leaves nothing in the second-level cache.
std::size_t count_sets(const Case& one, std::size_t cache_bytes) {
  const std::size_t wanted = 4 * cache_bytes;
  return std::max<std::size_t>(1, (wanted + one.bytes() - 1) / one.bytes());
}

// So many calls between two events that the events do not show, and that the host is ahead.
std::size_t count_calls(const Case& one) {
  constexpr std::size_t elements_per_batch = std::size_t{1} << 24;
  return std::clamp<std::size_t>(elements_per_batch / one.length(), 2, 256);
}

bool fits(const Case& one, std::size_t sets) {
  std::size_t available = 0;
  std::size_t total = 0;
  check(cudaMemGetInfo(&available, &total), "cudaMemGetInfo");
  return Buffers::bytes_of(one, sets) < available / 10 * 9;
}

bool can_compare() { return std::string_view(logitloss_isa()) != "baseline"; }

Row measure(const Case& one, const Machine& machine, double seconds) {
  const std::size_t sets =
      count_sets(one, static_cast<std::size_t>(std::max(machine.properties.l2CacheSize, 1 << 20)));
  if (!fits(one, sets)) {
    return {one, {}};
  }
  const Buffers buffers(one, sets);
  logitloss_report report;
  if (buffers.call(0, nullptr, report) != LOGITLOSS_OK) {
    throw std::runtime_error(std::string("a call failed: ") + report.message);
  }
  check(cudaDeviceSynchronize(), "the first call");
  if (one.power <= largest_checked_power && can_compare() && !buffers.are_as_on_cpu()) {
    throw std::runtime_error(one.name() + ": the results are not those of the CPU");
  }
  return {one, Stopwatch(buffers, count_calls(one)).measure(seconds)};
}

void print_heading(const Machine& machine) {
  std::printf(
      "%s, %d multiprocessors, L2 %d MiB, compute capability %d.%d, CUDA driver %d, "
      "runtime %d, logitloss %s\n",
      machine.properties.name, machine.properties.multiProcessorCount,
      machine.properties.l2CacheSize >> 20, machine.properties.major, machine.properties.minor,
      machine.driver, machine.runtime, logitloss_version());
  std::printf("Results are compared with the CPU's up to 2^%d elements%s.\n\n",
              largest_checked_power,
              can_compare() ? "" : ": not here, as this CPU has no fused multiply-add");
  std::printf("%-42s %11s %9s %14s %8s %10s %8s\n", "case", "us/call", "us/host", "10^9 elem/s",
              "GB/s", "copy GB/s", "of copy");
}

void print_row(const Row& row) {
  if (row.timing.rounds == 0) {
    std::printf("%-42s skipped: it does not fit into the device's memory\n",
                row.one.name().c_str());
    return;
  }
  std::printf("%-42s %11.2f %9.2f %14.3f %8.0f %10.0f %8.3f\n", row.one.name().c_str(),
              row.timing.call, row.timing.host, row.elements_per_second() * 1e-9,
              row.bytes_per_second() * 1e-9, row.copy_bytes_per_second() * 1e-9, row.share());
  std::fflush(stdout);
}

// --- JSON --------------------------------------------------------------------------------

std::string quoted(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      result += '\\';
    }
    result += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return result + '"';
}

// What the driver calls itself, where the system tells it.
std::string driver_text() {
  std::ifstream file("/proc/driver/nvidia/version");
  std::string line;
  return std::getline(file, line) ? line : "unknown";
}

std::string json_of(const Row& row) {
  char text[640];
  std::snprintf(text, sizeof text,
                "{\"kernel\": %s, \"dtype\": %s, \"elements\": %zu, \"bytes\": %zu, \"sets\": %zu, "
                "\"batch\": %zu, \"rounds\": %zu, \"microseconds\": %.4f, "
                "\"host_microseconds\": %.4f, \"copy_microseconds_library\": %.4f, "
                "\"copy_microseconds_kernel\": %.4f, \"elements_per_second\": %.6g, "
                "\"bytes_per_second\": %.6g, \"copy_bytes_per_second\": %.6g, \"of_copy\": %.4f}",
                quoted(row.one.kernel.name).c_str(), quoted(row.one.dtype.name).c_str(),
                row.one.length(), row.one.bytes(), row.timing.sets, row.timing.batch,
                row.timing.rounds, row.timing.call, row.timing.host, row.timing.copy_by_library,
                row.timing.copy_by_kernel, row.elements_per_second(), row.bytes_per_second(),
                row.copy_bytes_per_second(), row.share());
  return text;
}

void write_json(const std::string& path, const Machine& machine, const std::vector<Row>& rows) {
  std::ofstream file(path);
  file << "{\n  \"gpu\": " << quoted(machine.properties.name) << ",\n  \"compute_capability\": \""
       << machine.properties.major << '.' << machine.properties.minor
       << "\",\n  \"multiprocessors\": " << machine.properties.multiProcessorCount
       << ",\n  \"memory_bytes\": " << machine.properties.totalGlobalMem
       << ",\n  \"l2_bytes\": " << machine.properties.l2CacheSize
       << ",\n  \"driver\": " << quoted(driver_text()) << ",\n  \"cuda_driver\": " << machine.driver
       << ",\n  \"cuda_runtime\": " << machine.runtime
       << ",\n  \"logitloss\": " << quoted(logitloss_version())
       << ",\n  \"compiler\": " << quoted(logitloss_compiler()) << ",\n  \"results\": [\n";
  const char* separator = "    ";
  for (const Row& row : rows) {
    if (row.timing.rounds != 0) {
      file << separator << json_of(row);
      separator = ",\n    ";
    }
  }
  file << "\n  ]\n}\n";
  file.close();
  if (!file) {
    throw std::runtime_error("cannot write " + path);
  }
}

Machine find_machine() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess || count == 0) {
    throw UsageError(std::string("there is no CUDA device: ") +
                     cudaGetErrorString(error == cudaSuccess ? cudaErrorNoDevice : error));
  }
  Machine machine;
  int device = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  check(cudaGetDeviceProperties(&machine.properties, device), "cudaGetDeviceProperties");
  check(cudaDriverGetVersion(&machine.driver), "cudaDriverGetVersion");
  check(cudaRuntimeGetVersion(&machine.runtime), "cudaRuntimeGetVersion");
  return machine;
}

void run(const Arguments& arguments) {
  const std::vector<Case> cases = cases_of(arguments);
  const Machine machine = find_machine();
  print_heading(machine);
  std::vector<Row> rows;
  for (const Case& one : cases) {
    rows.push_back(measure(one, machine, arguments.seconds));
    print_row(rows.back());
  }
  if (!arguments.json.empty()) {
    write_json(arguments.json, machine, rows);
    std::printf("\nWritten: %s\n", arguments.json.c_str());
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const Arguments arguments = parse(argc, argv);
    if (arguments.wants_help) {
      std::fputs(usage, stdout);
      return 0;
    }
    run(arguments);
    return 0;
  } catch (const UsageError& error) {
    std::fprintf(stderr, "bench_cuda: %s\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_cuda: %s\n", error.what());
    return 1;
  }
}

#include <cuda_runtime_api.h>
#include <unistd.h>

#include <atomic>

#include "enqueue.h"
#include "launch.h"

namespace logitloss::cuda {
namespace {

struct DeviceBlock {
  template <class Function>
  __device__ __forceinline__ void each_thread(Function function) {
    function(static_cast<int>(threadIdx.x));
    __syncthreads();
  }
  template <class Function>
  __device__ __forceinline__ void one_thread(Function function) {
    if (threadIdx.x == 0) {
      function();
    }
  }
  __device__ __forceinline__ void wait() { __syncthreads(); }
  __device__ __forceinline__ void merge(unsigned& word, unsigned bits) { atomicOr(&word, bits); }
};

template <class Task>
__global__ void __launch_bounds__(block_threads,
                                  sizeof(typename Task::Number) == sizeof(float) ? 8 : 6)
    run_task(const __grid_constant__ DeviceCall call, unsigned slots) {
  using Real = typename Task::Number;
  extern __shared__ __align__(16) unsigned char memory[];
  auto* const shared = reinterpret_cast<Shared<Real>*>(memory);
  auto* const slot_memory = reinterpret_cast<double*>(memory + sizeof(Shared<Real>));
  Program<Real, DeviceBlock> program(call, shared, SlotArrays(slot_memory, slots));
  Task::run(program, static_cast<std::int64_t>(blockIdx.x));
}

// Without a call to cudaFuncSetAttribute, a kernel may have this much.
constexpr std::size_t most_shared_memory = 48 * 1024;
static_assert(sizeof(Shared<float>) + SlotArrays::bytes(slot_capacity) <= most_shared_memory);
static_assert(sizeof(Shared<double>) + SlotArrays::bytes(slot_capacity) <= most_shared_memory);

// Blocks that one launch can have.
constexpr std::int64_t most_blocks = 0x7FFFFFFF;

class DeviceLauncher {
 public:
  explicit DeviceLauncher(cudaStream_t stream) : stream_(stream) {}

  template <class Task>
  void run(const DeviceCall& call, std::int64_t blocks, std::size_t slots) {
    if (error_ != cudaSuccess) {
      return;
    }
    if (blocks > most_blocks) {
      error_ = cudaErrorInvalidConfiguration;
      return;
    }
    const std::size_t memory =
        Task::needs_slots ? sizeof(Shared<typename Task::Number>) + SlotArrays::bytes(slots) : 0;
    run_task<Task><<<static_cast<unsigned>(blocks), block_threads, memory, stream_>>>(
        call, static_cast<unsigned>(slots));
    error_ = cudaGetLastError();
  }

  cudaError_t error() const { return error_; }

 private:
  cudaStream_t stream_;
  cudaError_t error_ = cudaSuccess;
};

// The process that first used a device here. CUDA does not work in its children.
std::atomic<pid_t> first_process{0};

bool is_forked() {
  pid_t expected = 0;
  const pid_t own = getpid();
  return !first_process.compare_exchange_strong(expected, own) && expected != own;
}

// Why no device can be used.
const char* text_without_device(cudaError_t error) {
  switch (error) {
    case cudaErrorInsufficientDriver:
      return "no CUDA device can be used: there is no CUDA driver, or one older than the CUDA "
             "that logitloss was built with";
    case cudaErrorNoDevice:
      return "no CUDA device can be used: the CUDA driver finds none";
    default:
      return cudaGetErrorString(error);
  }
}

constexpr int unknown_device = -1;

// The device of an address, or unknown_device for memory that is no device's.
int device_of(const void* address) {
  cudaPointerAttributes attributes{};
  if (cudaPointerGetAttributes(&attributes, address) != cudaSuccess) {
    // The error is not one of a later launch.
    cudaGetLastError();
    return unknown_device;
  }
  const bool is_device =
      attributes.type == cudaMemoryTypeDevice || attributes.type == cudaMemoryTypeManaged;
  return is_device ? attributes.device : unknown_device;
}

const char* find_device(const logitloss_bce_request& request, const DeviceCall& call, int& device) {
  device = device_of(request.logits.data);
  if (device == unknown_device) {
    return "logits must lie in the memory of a device";
  }
  const DeviceOperand* const operands[] = {&call.targets,     &call.weight, &call.pos_weight,
                                           &call.where,       &call.value,  &call.gradient,
                                           &call.grad_output, &call.hessian};
  for (const DeviceOperand* operand : operands) {
    if (operand->data != nullptr && device_of(operand->data) != device) {
      return "all arrays must lie in the memory of the device of logits";
    }
  }
  return nullptr;
}

// Makes a device the current one, and then the one before.
class CurrentDevice {
 public:
  explicit CurrentDevice(int device) : device_(device) {
    error_ = cudaGetDevice(&before_);
    if (error_ == cudaSuccess && before_ != device_) {
      error_ = cudaSetDevice(device_);
    }
  }
  ~CurrentDevice() {
    if (error_ == cudaSuccess && before_ != device_) {
      cudaSetDevice(before_);
    }
  }
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;

  cudaError_t error() const { return error_; }

 private:
  int device_;
  int before_ = 0;
  cudaError_t error_;
};

}  // namespace

const char* const platform = "cuda";

bool is_host_memory(const void* address) { return device_of(address) == unknown_device; }

const char* launch(const logitloss_bce_request& request, const PreparedCall& prepared, void* stream,
                   bool& is_device_error) {
  is_device_error = true;
  if (is_forked()) {
    return "CUDA does not work in a process that was forked from one that used it: start it with "
           "the method 'spawn' or 'forkserver'";
  }
  int count = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&count); error != cudaSuccess) {
    return text_without_device(error);
  }
  is_device_error = false;
  // Nothing to do may have nowhere to be done.
  if (prepared.call.size == 0 && !prepared.call.sums_losses()) {
    return nullptr;
  }
  int device = 0;
  if (prepared.call.size != 0) {
    if (const char* problem = find_device(request, prepared.call, device)) {
      return problem;
    }
  } else {
    device = device_of(request.value.data);
  }
  is_device_error = true;
  const CurrentDevice current(device);
  if (current.error() != cudaSuccess) {
    return cudaGetErrorString(current.error());
  }
  DeviceLauncher launcher(static_cast<cudaStream_t>(stream));
  enqueue(prepared.call, prepared.is_plain, launcher);
  return launcher.error() == cudaSuccess ? nullptr : cudaGetErrorString(launcher.error());
}

}  // namespace logitloss::cuda

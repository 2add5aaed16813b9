// Memory that calls on a device can use: the device's, or the host's where that stands in for it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <new>
#include <stdexcept>
#include <vector>

#if defined(LOGITLOSS_TESTS_ON_DEVICE)
#include <cuda_runtime_api.h>
#endif

namespace logitloss::tests {

#if defined(LOGITLOSS_TESTS_ON_DEVICE)

inline bool has_device() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
}

class DeviceMemory {
 public:
  explicit DeviceMemory(std::size_t bytes) {
    check(cudaMalloc(reinterpret_cast<void**>(&data_), bytes + 1));
  }
  ~DeviceMemory() { cudaFree(data_); }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  char* data() const { return data_; }

  void write(const std::vector<char>& bytes) const {
    check(cudaMemcpy(data_, bytes.data(), bytes.size(), cudaMemcpyHostToDevice));
  }

  // After everything that was enqueued.
  void read(std::vector<char>& bytes) const {
    check(cudaDeviceSynchronize());
    check(cudaMemcpy(bytes.data(), data_, bytes.size(), cudaMemcpyDeviceToHost));
  }

 private:
  static void check(cudaError_t error) {
    if (error != cudaSuccess) {
      throw std::runtime_error(cudaGetErrorString(error));
    }
  }

  char* data_ = nullptr;
};

#else

inline bool has_device() { return true; }

class DeviceMemory {
 public:
  explicit DeviceMemory(std::size_t bytes)
      : data_(static_cast<char*>(::operator new(bytes + 1, std::align_val_t{64}))) {}
  ~DeviceMemory() { ::operator delete(data_, std::align_val_t{64}); }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  char* data() const { return data_; }

  void write(const std::vector<char>& bytes) const { std::copy(bytes.begin(), bytes.end(), data_); }

  void read(std::vector<char>& bytes) const { std::copy_n(data_, bytes.size(), bytes.begin()); }

 private:
  char* data_;
};

#endif

}  // namespace logitloss::tests

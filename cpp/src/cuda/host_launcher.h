// Runs the programs of a device on the host, one thread after the other. It is slow; the tests
// compare its results with the CPU's kernels bit by bit, on machines without a GPU too.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "enqueue.h"

namespace logitloss::cuda {
namespace {

struct HostBlock {
  template <class Function>
  LOGITLOSS_INLINE void each_thread(Function function) {
    for (int thread = 0; thread < block_threads; ++thread) {
      function(thread);
    }
  }
  template <class Function>
  LOGITLOSS_INLINE void one_thread(Function function) {
    function();
  }
  LOGITLOSS_INLINE void wait() {}
  LOGITLOSS_INLINE void merge(unsigned& word, unsigned bits) { word |= bits; }
};

struct HostLauncher {
  template <class Task>
  void run(const DeviceCall& call, std::int64_t blocks, std::size_t slots) {
    using Real = typename Task::Number;
    Shared<Real> shared;
    std::vector<double> memory(SlotArrays::bytes(slots) / sizeof(double));
    for (std::int64_t unit = 0; unit < blocks; ++unit) {
      Program<Real, HostBlock> program(call, &shared,
                                       SlotArrays(memory.data(), static_cast<unsigned>(slots)));
      Task::run(program, unit);
    }
  }
};

}  // namespace
}  // namespace logitloss::cuda

#include "parallel.h"

#include <atomic>

#include "floating_point_environment.h"

#if defined(_OPENMP)
#include <omp.h>
#include <pthread.h>
#endif

namespace logitloss {
namespace {

std::atomic<int> chosen_threads{0};

void run(std::int64_t first, std::int64_t last, RangeFunction function, void* context) {
  const FloatingPointEnvironment environment;
  function(context, first, last);
}

#if defined(_OPENMP)

std::atomic<bool> is_forked_child{false};

// The flag is set in every child, also where this library was not used before: another library
// may have started the threads of the OpenMP runtime that both share, and they do not survive.
[[maybe_unused]] const int registered =
    pthread_atfork(nullptr, nullptr, [] { is_forked_child.store(true); });

#endif

}  // namespace

#if defined(_OPENMP)

void for_each_range(std::int64_t units, int threads, RangeFunction function, void* context) {
  if (threads > units) {
    threads = static_cast<int>(units);
  }
  if (threads <= 1 || is_forked_child.load(std::memory_order_relaxed) || omp_in_parallel() != 0) {
    run(0, units, function, context);
    return;
  }
#pragma omp parallel num_threads(threads)
  {
    // The runtime may grant fewer threads than were asked for.
    const std::int64_t count = omp_get_num_threads();
    const std::int64_t index = omp_get_thread_num();
    const std::int64_t whole = units / count;
    const std::int64_t rest = units % count;
    const std::int64_t first = index * whole + (index < rest ? index : rest);
    const std::int64_t last = first + whole + (index < rest ? 1 : 0);
    run(first, last, function, context);
  }
}

int get_num_threads() {
  const int chosen = chosen_threads.load(std::memory_order_relaxed);
  return chosen > 0 ? chosen : omp_get_max_threads();
}

int openmp_version() { return _OPENMP; }

#else

void for_each_range(std::int64_t units, int, RangeFunction function, void* context) {
  run(0, units, function, context);
}

int get_num_threads() {
  const int chosen = chosen_threads.load(std::memory_order_relaxed);
  return chosen > 0 ? chosen : 1;
}

int openmp_version() { return 0; }

#endif

void set_num_threads(int count) { chosen_threads.store(count, std::memory_order_relaxed); }

}  // namespace logitloss

#include "dispatch.h"

#include <atomic>
#include <cstring>

namespace logitloss {

extern const KernelTable baseline_kernels;
extern const KernelTable avx2_kernels;
extern const KernelTable avx512_kernels;
extern const KernelTable neon_kernels;

namespace {

struct Isa {
  const char* name;
  bool (*can_run)();
  const KernelTable* kernels;
};

#if defined(__x86_64__)
// The compiler's own test asks CPUID and whether the operating system keeps the registers.
bool can_run_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("f16c") && __builtin_cpu_supports("bmi") &&
         __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("lzcnt") &&
         __builtin_cpu_supports("movbe");
}

bool can_run_avx512() {
  return can_run_avx2() && __builtin_cpu_supports("avx512f") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#endif

constexpr Isa isas[] = {
#if defined(__aarch64__)
    {"neon", [] { return true; }, &neon_kernels},
#else
    {"baseline", [] { return true; }, &baseline_kernels},
#endif
#if defined(__x86_64__)
    {"avx2", can_run_avx2, &avx2_kernels},
    {"avx512", can_run_avx512, &avx512_kernels},
#endif
};

const Isa* best_isa() {
  const Isa* best = &isas[0];
  for (const Isa& isa : isas) {
    best = isa.can_run() ? &isa : best;
  }
  return best;
}

std::atomic<const Isa*>& active() {
  static std::atomic<const Isa*> isa{best_isa()};
  return isa;
}

}  // namespace

const char* active_isa() { return active().load()->name; }

const char* available_isa(int index) {
  for (const Isa& isa : isas) {
    if (isa.can_run() && index-- == 0) {
      return isa.name;
    }
  }
  return nullptr;
}

bool select_isa(const char* name) {
  for (const Isa& isa : isas) {
    if (std::strcmp(isa.name, name) == 0 && isa.can_run()) {
      active().store(&isa);
      return true;
    }
  }
  return false;
}

const KernelTable& active_kernels() { return *active().load(std::memory_order_relaxed)->kernels; }

}  // namespace logitloss

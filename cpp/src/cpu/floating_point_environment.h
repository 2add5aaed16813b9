// The arithmetic that the results are proved for, whatever the host process has set.
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace logitloss {

// Rounding to nearest, subnormal numbers kept, no traps, for the calling thread as long as the
// object lives; then the host's setting again.
class FloatingPointEnvironment {
 public:
  FloatingPointEnvironment() : saved_(read()) {
    if (saved_ != standard) {
      write(standard);
    }
  }
  ~FloatingPointEnvironment() {
    if (read() != saved_) {
      write(saved_);
    }
  }
  FloatingPointEnvironment(const FloatingPointEnvironment&) = delete;
  FloatingPointEnvironment& operator=(const FloatingPointEnvironment&) = delete;

 private:
#if defined(__x86_64__)
  using Register = unsigned;
  // All exceptions masked, nearest even, neither flush-to-zero nor denormals-are-zero.
  static constexpr Register standard = 0x1F80U;
  static Register read() { return _mm_getcsr() & ~0x3FU; }
  static void write(Register value) { _mm_setcsr(value); }
#elif defined(__aarch64__)
  using Register = std::uint64_t;
  static constexpr Register standard = 0;
  static Register read() {
    Register value;
    __asm__ volatile("mrs %0, fpcr" : "=r"(value));
    return value;
  }
  static void write(Register value) { __asm__ volatile("msr fpcr, %0" : : "r"(value)); }
#else
  using Register = int;
  static constexpr Register standard = 0;
  static Register read() { return standard; }
  static void write(Register) {}
#endif

  Register saved_;
};

}  // namespace logitloss

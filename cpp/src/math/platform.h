// What the mathematics needs from a compiler: inlining, bit casts and one fused operation.
// This is the only file of the mathematics that asks which compiler or target it is built for.
#pragma once

#if defined(__CUDACC__)
#define LOGITLOSS_INLINE __host__ __device__ __forceinline__
#else
#define LOGITLOSS_INLINE inline __attribute__((always_inline))
#endif

// A function that is too large to stand wherever it is called.
#if defined(__CUDACC__)
#define LOGITLOSS_OUTLINED __host__ __device__ __noinline__
#else
#define LOGITLOSS_OUTLINED __attribute__((noinline))
#endif

// Stands before a loop whose iterations may touch the same element, each its own, and no other.
#if defined(__clang__)
#define LOGITLOSS_INDEPENDENT_ITERATIONS _Pragma("clang loop vectorize(assume_safety)")
#else
#define LOGITLOSS_INDEPENDENT_ITERATIONS _Pragma("GCC ivdep")
#endif

// Stands before a loop over a few values that are to live in registers.
#if defined(__CUDACC__)
#define LOGITLOSS_UNROLLED _Pragma("unroll")
#else
#define LOGITLOSS_UNROLLED _Pragma("GCC unroll 8")
#endif

namespace logitloss {
namespace {

// Whether multiply_add rounds once. The x86-64 baseline has no such instruction, and calling
// libm's fma would keep the loops from being vectorised; its last bits are therefore its own.
#if defined(LOGITLOSS_WITHOUT_FMA)
constexpr bool fused = false;
#else
constexpr bool fused = true;
#endif

template <class Real>
struct Bits;

template <>
struct Bits<float> {
  using Integer = int;
  using Unsigned = unsigned;
  static constexpr int mantissa_bits = 23;
};

template <>
struct Bits<double> {
  using Integer = long long;
  using Unsigned = unsigned long long;
  static constexpr int mantissa_bits = 52;
};

template <class To, class From>
LOGITLOSS_INLINE To bit_cast(From from) {
  return __builtin_bit_cast(To, from);
}

template <class Real>
constexpr auto infinity = static_cast<Real>(__builtin_bit_cast(float, 0x7F800000U));

template <class Real>
LOGITLOSS_INLINE typename Bits<Real>::Unsigned bits_of(Real x) {
  return bit_cast<typename Bits<Real>::Unsigned>(x);
}

template <class Real>
LOGITLOSS_INLINE Real from_bits(typename Bits<Real>::Unsigned bits) {
  return bit_cast<Real>(bits);
}

template <class Real>
constexpr auto sign_bit = typename Bits<Real>::Unsigned{1} << (8 * sizeof(Real) - 1);

template <class Real>
LOGITLOSS_INLINE Real magnitude(Real x) {
  return from_bits<Real>(bits_of(x) & ~sign_bit<Real>);
}

template <class Real>
LOGITLOSS_INLINE Real negative_magnitude(Real x) {
  return from_bits<Real>(bits_of(x) | sign_bit<Real>);
}

// True for -0 and for a NaN whose sign bit is set, too.
template <class Real>
LOGITLOSS_INLINE bool is_negative(Real x) {
  return bit_cast<typename Bits<Real>::Integer>(x) < 0;
}

// y where the sign bit of x is clear, -y where it is set.
template <class Real>
LOGITLOSS_INLINE Real with_sign_flipped_by(Real x, Real y) {
  return from_bits<Real>(bits_of(y) ^ (bits_of(x) & sign_bit<Real>));
}

// The exponent of a positive normal number, through the bits of 2^52, since not every processor can
// convert a 64-bit integer.
LOGITLOSS_INLINE double exponent_of(double x) {
  constexpr double two_to_52 = 0x1p52;
  return from_bits<double>((bits_of(x) >> 52) | bits_of(two_to_52)) - (two_to_52 + 1023.0);
}

// By value: a reference to a constant is more than a device can have.
template <class Number>
LOGITLOSS_INLINE Number least(Number a, Number b) {
  return b < a ? b : a;
}

// NVRTC has functions in the place of some builtins.
#if defined(__CUDACC_RTC__)
LOGITLOSS_INLINE float round_once(float a, float b, float c) { return fmaf(a, b, c); }
LOGITLOSS_INLINE double round_once(double a, double b, double c) { return fma(a, b, c); }
#else
LOGITLOSS_INLINE float round_once(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
LOGITLOSS_INLINE double round_once(double a, double b, double c) { return __builtin_fma(a, b, c); }
#endif

// a b + c, rounded once where `fused`.
template <class Real>
LOGITLOSS_INLINE Real multiply_add(Real a, Real b, Real c) {
  if constexpr (fused) {
    return round_once(a, b, c);
  } else {
    return a * b + c;
  }
}

// Horner's rule over every `step`-th of an array of coefficients, lowest degree first. It recurses
// at compile time because a loop inside the loop over elements would keep that from being
// vectorised.
template <const auto& coefficients, int first = 0, int step = 1, class Real>
LOGITLOSS_INLINE Real horner(Real x) {
  constexpr Real coefficient = coefficients[first];
  constexpr int count = sizeof(coefficients) / sizeof(Real);
  if constexpr (first + step >= count) {
    return coefficient;
  } else {
    return multiply_add(horner<coefficients, first + step, step>(x), x, coefficient);
  }
}

// The same polynomial with the coefficients from `split` on in two chains, of even and of odd
// powers, which do not wait for each other. Those before keep the rounding errors small.
template <const auto& coefficients, int split, int first = 0, class Real>
LOGITLOSS_INLINE Real split_horner(Real x) {
  if constexpr (first < split) {
    constexpr Real coefficient = coefficients[first];
    return multiply_add(split_horner<coefficients, split, first + 1>(x), x, coefficient);
  } else {
    const Real square = x * x;
    return multiply_add(horner<coefficients, first + 1, 2>(square), x,
                        horner<coefficients, first, 2>(square));
  }
}

}  // namespace
}  // namespace logitloss

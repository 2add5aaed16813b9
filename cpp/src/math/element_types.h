// The numbers that arrays hold, as the compute type and back.
#pragma once

#include "platform.h"

namespace logitloss {
namespace {

// The 16-bit formats by their bits; a struct each, so that overloads tell them apart.
struct Float16 {
  unsigned short bits;
};

struct BFloat16 {
  unsigned short bits;
};

struct Boolean {
  unsigned char byte;
};

template <class Real, class Element>
LOGITLOSS_INLINE Real to_real(Element element) {
  return static_cast<Real>(element);
}

template <class Real>
LOGITLOSS_INLINE Real to_real(Boolean element) {
  return element.byte != 0 ? Real{1} : Real{0};
}

// The exponent and mantissa of a binary16 number, read in the place of those of a float, are
// 2^-112 of its value, subnormal numbers included; the product is exact. Infinities and NaNs
// get the exponent that they have there.
template <class Real>
LOGITLOSS_INLINE Real to_real(Float16 element) {
  const unsigned half = element.bits;
  const unsigned exponent_and_mantissa = half & 0x7FFFU;
  const float scaled = from_bits<float>(exponent_and_mantissa << 13) * 0x1p112F;
  const unsigned special = exponent_and_mantissa >= 0x7C00U ? 0x7F800000U : 0U;
  return static_cast<Real>(from_bits<float>(bits_of(scaled) | special | (half & 0x8000U) << 16));
}

template <class Real>
LOGITLOSS_INLINE Real to_real(BFloat16 element) {
  return static_cast<Real>(from_bits<float>(static_cast<unsigned>(element.bits) << 16));
}

template <class Element, class Real>
struct FromReal {
  static LOGITLOSS_INLINE Element round(Real x) { return static_cast<Element>(x); }
};

// Rounds to nearest, ties to even, with integer arithmetic for normal results and with one
// addition that aligns the last place for subnormal ones.
template <>
struct FromReal<Float16, float> {
  static LOGITLOSS_INLINE Float16 round(float x) {
    const unsigned sign = (bits_of(x) & sign_bit<float>) >> 16;
    const unsigned bits = bits_of(x) & ~sign_bit<float>;
    const unsigned rounded = bits + 0xFFFU + ((bits >> 13) & 1U);
    const unsigned normal = (rounded - (112U << 23)) >> 13;
    const unsigned subnormal = bits_of(from_bits<float>(bits) + 0.5F) - bits_of(0.5F);
    const unsigned not_a_number = 0x7E00U | ((bits >> 13) & 0x3FFU);
    unsigned half = bits < 0x38800000U ? subnormal : normal;
    half = rounded >= 0x47800000U ? 0x7C00U : half;
    half = bits > 0x7F800000U ? not_a_number : half;
    return {static_cast<unsigned short>(half | sign)};
  }
};

template <>
struct FromReal<BFloat16, float> {
  static LOGITLOSS_INLINE BFloat16 round(float x) {
    const unsigned bits = bits_of(x);
    const unsigned rounded = bits + 0x7FFFU + ((bits >> 16) & 1U);
    const bool not_a_number = (bits & ~sign_bit<float>) > 0x7F800000U;
    const unsigned chosen = not_a_number ? (bits | 0x00400000U) : rounded;
    return {static_cast<unsigned short>(chosen >> 16)};
  }
};

// memcpy is how C++ reads memory of any alignment; compilers make one load of it.
template <class Element>
LOGITLOSS_INLINE Element read_element(const char* source) {
  Element element;
  __builtin_memcpy(&element, source, sizeof element);
  return element;
}

template <class Element>
LOGITLOSS_INLINE void write_element(char* target, Element element) {
  __builtin_memcpy(target, &element, sizeof element);
}

// A float64 target as a Real. A negative one too small for it must not become a zero, which would
// be valid.
template <class Real>
LOGITLOSS_INLINE Real rounded_target(double y) {
  constexpr Real smallest = sizeof(Real) == sizeof(float) ? Real(0x1p-149) : Real(0x1p-1074);
  const Real rounded = static_cast<Real>(y);
  return y < 0.0 && rounded == Real{0} ? -smallest : rounded;
}

}  // namespace
}  // namespace logitloss

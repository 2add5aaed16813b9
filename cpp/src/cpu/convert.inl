// Loads of any element type and stride into a contiguous tile, and stores back.
// Included by kernels.inl alone.

// The 16-bit formats by their bits; a struct each, so that overloads tell them apart.
struct Float16 {
  std::uint16_t bits;
};

struct BFloat16 {
  std::uint16_t bits;
};

struct Boolean {
  std::uint8_t byte;
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
    return {static_cast<std::uint16_t>(half | sign)};
  }
};

template <>
struct FromReal<BFloat16, float> {
  static LOGITLOSS_INLINE BFloat16 round(float x) {
    const unsigned bits = bits_of(x);
    const unsigned rounded = bits + 0x7FFFU + ((bits >> 16) & 1U);
    const bool not_a_number = (bits & ~sign_bit<float>) > 0x7F800000U;
    const unsigned chosen = not_a_number ? (bits | 0x00400000U) : rounded;
    return {static_cast<std::uint16_t>(chosen >> 16)};
  }
};

// memcpy is how C++ reads memory of any alignment; compilers make one load of it.
template <class Element>
LOGITLOSS_INLINE Element read_element(const char* source) {
  Element element;
  std::memcpy(&element, source, sizeof element);
  return element;
}

// Whole vectors of binary16 numbers by the processor's own instructions, which round to nearest
// even as the text above does. Each returns how many elements it took.
#if defined(__F16C__)

inline std::size_t load_halves(const char* source, std::size_t length, float* tile) {
  std::size_t i = 0;
  for (; i + 8 <= length; i += 8) {
    const void* from = source + 2 * i;
    _mm256_storeu_ps(tile + i, _mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i*>(from))));
  }
  return i;
}

inline std::size_t store_halves(const float* tile, std::size_t length, char* target) {
  std::size_t i = 0;
  for (; i + 8 <= length; i += 8) {
    void* to = target + 2 * i;
    const __m128i halves = _mm256_cvtps_ph(_mm256_loadu_ps(tile + i), _MM_FROUND_TO_NEAREST_INT);
    _mm_storeu_si128(static_cast<__m128i*>(to), halves);
  }
  return i;
}

#else

inline std::size_t load_halves(const char*, std::size_t, float*) { return 0; }
inline std::size_t store_halves(const float*, std::size_t, char*) { return 0; }

#endif

template <class Element, class Real>
LOGITLOSS_INLINE std::size_t load_vectors(const char* source, std::size_t length, Real* tile) {
  if constexpr (std::is_same_v<Element, Float16> && std::is_same_v<Real, float>) {
    return load_halves(source, length, tile);
  } else {
    return 0;
  }
}

template <class Element, class Real>
LOGITLOSS_INLINE std::size_t store_vectors(const Real* tile, std::size_t length, char* target) {
  if constexpr (std::is_same_v<Element, Float16> && std::is_same_v<Real, float>) {
    return store_halves(tile, length, target);
  } else {
    return 0;
  }
}

template <class Element, class Real>
void load_run(const char* source, std::ptrdiff_t stride, std::size_t length,
              Real* __restrict tile) {
  if (stride == static_cast<std::ptrdiff_t>(sizeof(Element))) {
    for (std::size_t i = load_vectors<Element>(source, length, tile); i < length; ++i) {
      tile[i] = to_real<Real>(read_element<Element>(source + i * sizeof(Element)));
    }
  } else if (stride == 0) {
    const Real constant = length != 0 ? to_real<Real>(read_element<Element>(source)) : Real{0};
    for (std::size_t i = 0; i < length; ++i) {
      tile[i] = constant;
    }
  } else {
    for (std::size_t i = 0; i < length; ++i) {
      const auto offset = static_cast<std::ptrdiff_t>(i) * stride;
      tile[i] = to_real<Real>(read_element<Element>(source + offset));
    }
  }
}

template <class Element, class Real>
void store_run(const Real* __restrict tile, std::size_t length, char* __restrict target,
               std::ptrdiff_t stride) {
  if (stride == static_cast<std::ptrdiff_t>(sizeof(Element))) {
    for (std::size_t i = store_vectors<Element>(tile, length, target); i < length; ++i) {
      const Element element = FromReal<Element, Real>::round(tile[i]);
      std::memcpy(target + i * sizeof(Element), &element, sizeof element);
    }
  } else {
    for (std::size_t i = 0; i < length; ++i) {
      const Element element = FromReal<Element, Real>::round(tile[i]);
      const auto offset = static_cast<std::ptrdiff_t>(i) * stride;
      std::memcpy(target + offset, &element, sizeof element);
    }
  }
}

// A negative target too small for Real must not become a zero, which would be valid.
template <class Real>
void load_double_with_complement(const char* source, std::ptrdiff_t stride, std::size_t length,
                                 Real* __restrict tile, Real* __restrict complements) {
  constexpr Real smallest = sizeof(Real) == sizeof(float) ? Real(0x1p-149) : Real(0x1p-1074);
  for (std::size_t i = 0; i < length; ++i) {
    const auto offset = static_cast<std::ptrdiff_t>(i) * stride;
    const double y = read_element<double>(source + offset);
    const Real rounded = static_cast<Real>(y);
    tile[i] = y < 0.0 && rounded == Real{0} ? -smallest : rounded;
    complements[i] = static_cast<Real>(1.0 - y);
  }
}

template <class Real>
LOGITLOSS_INLINE unsigned sizes_of_one(Real weight) {
  const Real size = magnitude(weight);
  const bool extreme = (size > Real(0x1p30)) | ((size > Real{0}) & (size < Real(0x1p-30)));
  return (size > Real{1} ? unsigned{amplifies} : 0U) | (extreme ? unsigned{is_extreme} : 0U);
}

template <class Real>
unsigned sizes_of(const Real* weights, std::size_t length) {
  unsigned sizes = 0;
  for (std::size_t i = 0; i < length; ++i) {
    sizes |= sizes_of_one(weights[i]);
  }
  return sizes;
}

inline unsigned sizes_of_doubles(const char* source, std::ptrdiff_t stride, std::size_t length) {
  unsigned sizes = 0;
  for (std::size_t i = 0; i < length; ++i) {
    const auto offset = static_cast<std::ptrdiff_t>(i) * stride;
    sizes |= sizes_of_one(read_element<double>(source + offset));
  }
  return sizes;
}

// Among magnitudes from the start of the tail to infinity, that least far beyond the start is
// sought: bits of numbers that are not negative are ordered as they are, and others wrap around.
template <class Real>
bool holds_tail(const Real* logits, std::size_t length) {
  using Unsigned = typename Bits<Real>::Unsigned;
  const Unsigned start = bits_of(Constants<Real>::tail_start);
  const Unsigned infinity = bits_of(Real(__builtin_huge_valf()));
  Unsigned least = ~Unsigned{0};
  for (std::size_t i = 0; i < length; ++i) {
    const Unsigned beyond = bits_of(magnitude(logits[i])) - start;
    least = beyond < least ? beyond : least;
  }
  return least < infinity - start;
}

// Loads of any element type and stride into a contiguous tile, and stores back.
// Included by kernels.inl alone.

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
      write_element(target + i * sizeof(Element), FromReal<Element, Real>::round(tile[i]));
    }
  } else {
    for (std::size_t i = 0; i < length; ++i) {
      const auto offset = static_cast<std::ptrdiff_t>(i) * stride;
      write_element(target + offset, FromReal<Element, Real>::round(tile[i]));
    }
  }
}

template <class Real>
void load_double_with_complement(const char* source, std::ptrdiff_t stride, std::size_t length,
                                 Real* __restrict tile, Real* __restrict complements) {
  for (std::size_t i = 0; i < length; ++i) {
    const auto offset = static_cast<std::ptrdiff_t>(i) * stride;
    const double y = read_element<double>(source + offset);
    tile[i] = rounded_target<Real>(y);
    complements[i] = static_cast<Real>(1.0 - y);
  }
}

template <class Real>
unsigned sizes_of(const Real* weights, std::size_t length) {
  unsigned sizes = 0;
  for (std::size_t i = 0; i < length; ++i) {
    sizes |= size_of_weight(weights[i]);
  }
  return sizes;
}

inline unsigned sizes_of_doubles(const char* source, std::ptrdiff_t stride, std::size_t length) {
  unsigned sizes = 0;
  for (std::size_t i = 0; i < length; ++i) {
    const auto offset = static_cast<std::ptrdiff_t>(i) * stride;
    sizes |= size_of_weight(read_element<double>(source + offset));
  }
  return sizes;
}

// Among magnitudes from the start of the tail to infinity, that least far beyond the start is
// sought: bits of numbers that are not negative are ordered as they are, and others wrap around.
template <class Real>
bool holds_tail(const Real* logits, std::size_t length) {
  using Unsigned = typename Bits<Real>::Unsigned;
  const Unsigned start = bits_of(Constants<Real>::tail_start);
  const Unsigned infinite_bits = bits_of(infinity<Real>);
  Unsigned least = ~Unsigned{0};
  for (std::size_t i = 0; i < length; ++i) {
    const Unsigned beyond = bits_of(magnitude(logits[i])) - start;
    least = beyond < least ? beyond : least;
  }
  return least < infinite_bits - start;
}

// The loops over a contiguous tile, written once. Each isa_*.cpp names its table and includes
// this file, and is compiled for one instruction set; everything here has internal linkage but
// that table.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#if defined(__F16C__)
#include <immintrin.h>
#endif

#include "../losses/binary_cross_entropy.h"
#include "../losses/labels.h"
#include "../math/element_types.h"
#include "../math/factor.h"
#include "../math/sums.h"
#include "kernel_table.h"

namespace logitloss {
namespace {

#include "convert.inl"
#include "sums.inl"

template <class Real>
bool holds_bad_target(const Real* targets, std::size_t length) {
  int outside = 0;
  for (std::size_t i = 0; i < length; ++i) {
    outside |= is_outside_unit_interval(targets[i]);
  }
  return outside != 0;
}

template <Labels labels, class Real>
LOGITLOSS_INLINE Real scaled_by(const Scale<Real>& scale, Real value) {
  return labels == Labels::weighted ? scaled_also_if_infinite(value, scale.high, scale.low)
                                    : scaled(value, scale.high, scale.low);
}

// Asks for what the chunk of the same place in the next tile needs of streams [k, end). A loop is
// faster than as many requests in a row: those wait for one another.
LOGITLOSS_INLINE void fetch_ahead(const Streams& streams, int k, int end, std::size_t first) {
  constexpr std::size_t cache_line = 64;
  for (; k < end; ++k) {
    const Stream stream = streams.stream[k];
    const char* const begin = stream.next + first * stream.item_size;
#pragma GCC unroll 1
    for (std::size_t offset = 0; offset < chunk_length * stream.item_size; offset += cache_line) {
      __builtin_prefetch(begin + offset);
    }
  }
}

// Each chunk goes through two loops, so that each is a short chain of dependent operations and a
// processor has several elements in flight; exp(-a) stays in the first-level cache. For terms alone
// the second would hold next to nothing, and there is one. Chunks are short, and ask for what comes
// later, so that memory is fetched while there is something to compute. No result may overlap an
// operand.
template <class Loss, unsigned outputs, Labels labels, class Real>
bool evaluate_tile(const Tile<Real>& arguments) {
  constexpr bool wants_derivatives = (outputs & (wants_gradient | wants_hessian)) != 0;
  constexpr bool has_two_loops = outputs != wants_terms;
  const Tile<Real> tile = arguments;
  const Real* const logits = tile.logits;
  const Real* const positives = tile.positive;
  Real* const high = tile.exponential;
  Real* const low = tile.exponential_low;
  const Scale<Real> scale = tile.scale;
  const Streams& streams = *tile.streams;
  // The bits of numbers of [0, 1], but for -0, are at most those of 1; all others are greater.
  typename Bits<Real>::Unsigned largest = 0;
  for (std::size_t first = 0; first < tile.length; first += chunk_length) {
    const std::size_t rest = tile.length - first;
    const std::size_t last = first + (rest < chunk_length ? rest : chunk_length);
    fetch_ahead(streams, 0, streams.count / 2, first);
    if constexpr (has_two_loops) {
      LOGITLOSS_INDEPENDENT_ITERATIONS
      for (std::size_t i = first; i < last; ++i) {
        const Pair<Real> e = Loss::exponential(logits[i]);
        high[i] = e.high;
        low[i] = e.low;
      }
    }
    fetch_ahead(streams, streams.count / 2, streams.count, first);
    LOGITLOSS_INDEPENDENT_ITERATIONS
    for (std::size_t i = first; i < last; ++i) {
      const Real x = logits[i];
      if constexpr (!has_two_loops) {
        high[i] = Loss::exponential(x).high;
      }
      const Real positive = positives[i];
      const Real negative = labels == Labels::targets ? Real{1} - positive : tile.negative[i];
      const Real total = labels == Labels::weighted ? negative + positive : Real{1};
      const Real m = Loss::opposed(x, negative, positive);
      if constexpr (labels == Labels::targets) {
        largest = bits_of(positive) > largest ? bits_of(positive) : largest;
      }
      if constexpr ((outputs & wants_terms) != 0) {
        tile.linear[i] = Loss::linear(x, m);
      }
      if constexpr ((outputs & wants_loss) != 0) {
        tile.loss[i] = Loss::loss(x, m, total, Pair<Real>{high[i], low[i]});
      }
      if constexpr (wants_derivatives) {
        const Real t = sigmoid_from(Pair<Real>{high[i], low[i]});
        if constexpr ((outputs & wants_gradient) != 0) {
          const Real slope = Loss::gradient(x, m, total, t);
          tile.gradient[i] = scaled_by<labels>(scale, slope);
        }
        if constexpr ((outputs & wants_hessian) != 0) {
          tile.hessian[i] = scaled_by<labels>(scale, Loss::hessian(total, t));
        }
      }
    }
  }
  return largest > bits_of(Real{1}) && holds_bad_target(positives, tile.length);
}

// Where elements can be missing: nowhere, by a byte each, by their targets, or by both.
constexpr unsigned by_byte = 1;
constexpr unsigned by_target = 2;

template <Labels labels, unsigned missing, bool with_complements, class Real>
Prepared prepare_tile(const Preparation<Real>& arguments) {
  using Integer = typename Bits<Real>::Integer;
  const Preparation<Real> p = arguments;
  const bool ignores_nan = p.ignored != p.ignored;
  Integer outside = 0;
  Integer absent = 0;
  LOGITLOSS_INDEPENDENT_ITERATIONS
  for (std::size_t i = 0; i < p.length; ++i) {
    const Real y = p.targets[i];
    LabelWeights<Real> weights{Real{0}, y};
    Integer is_outside = 0;
    if constexpr (labels != Labels::targets) {
      const Real complement = with_complements ? p.complements[i] : Real{1} - y;
      weights = smoothed(y, complement, p.smoothing_factor, p.smoothing_offset);
      is_outside = is_outside_unit_interval(y, complement);
    }
    if constexpr (labels == Labels::weighted) {
      weights = weighted(weights, p.weight[i], p.pos_weight[i]);
    }
    if constexpr (missing != 0) {
      const LabelWeights<Real> right = missing_labels<Real>(labels == Labels::weighted);
      bool is_missing = false;
      if constexpr ((missing & by_byte) != 0) {
        is_missing |= p.exists[i] == 0;
      }
      if constexpr ((missing & by_target) != 0) {
        is_missing |= (y == p.ignored) | (ignores_nan & (y != y));
      }
      p.masked_logits[i] = is_missing ? infinity<Real> : p.logits[i];
      weights.positive = is_missing ? right.positive : weights.positive;
      weights.negative = is_missing ? right.negative : weights.negative;
      is_outside = is_missing ? 0 : is_outside;
      absent += is_missing ? 1 : 0;
    }
    p.positive[i] = weights.positive;
    if constexpr (labels != Labels::targets) {
      p.negative[i] = weights.negative;
    }
    outside |= is_outside;
  }
  return {outside != 0, p.length - static_cast<std::size_t>(absent)};
}

template <Labels labels, class Real>
Prepared prepare(const Preparation<Real>& p) {
  if (p.complements != nullptr) {
    return p.exists != nullptr ? prepare_tile<labels, by_byte, true>(p)
                               : prepare_tile<labels, 0, true>(p);
  }
  if (p.has_ignored) {
    return p.exists != nullptr ? prepare_tile<labels, by_byte | by_target, false>(p)
                               : prepare_tile<labels, by_target, false>(p);
  }
  return p.exists != nullptr ? prepare_tile<labels, by_byte, false>(p)
                             : prepare_tile<labels, 0, false>(p);
}

template <class Real>
void ignore(const Real* targets, double value, std::size_t length, std::uint8_t* exists) {
  if (value != value) {
    for (std::size_t i = 0; i < length; ++i) {
      exists[i] = targets[i] == targets[i] ? exists[i] : std::uint8_t{0};
    }
    return;
  }
  for (std::size_t i = 0; i < length; ++i) {
    exists[i] = static_cast<double>(targets[i]) == value ? std::uint8_t{0} : exists[i];
  }
}

inline std::size_t count_existing(const std::uint8_t* exists, std::size_t length) {
  unsigned count = 0;
  for (std::size_t i = 0; i < length; ++i) {
    count += exists[i] != 0 ? 1U : 0U;
  }
  return count;
}

template <class Real>
std::size_t count_others(const Real* targets, double value, std::size_t length) {
  using Integer = typename Bits<Real>::Integer;
  const auto ignored = static_cast<Real>(value);
  const bool exists_in_real = static_cast<double>(ignored) == value;
  const bool ignores_nan = value != value;
  Integer count = 0;
  for (std::size_t i = 0; i < length; ++i) {
    const Real y = targets[i];
    const bool is_missing = ((y == ignored) & exists_in_real) | (ignores_nan & (y != y));
    count += is_missing ? 0 : 1;
  }
  return static_cast<std::size_t>(count);
}

template <class Real>
void denominators(const Real* weight, const std::uint8_t* exists, std::size_t length,
                  Real* result) {
  for (std::size_t i = 0; i < length; ++i) {
    const Real term = weight != nullptr ? weight[i] : Real{1};
    result[i] = exists == nullptr || exists[i] != 0 ? term : Real{0};
  }
}

template <class Real>
Scale<Real> make_scale(double numerator, double denominator) {
  return quotient_of<Real>(numerator, denominator);
}

template <class Real>
void scale_tile(Real* values, const double* numerators, const double* denominators,
                std::size_t length) {
  for (std::size_t i = 0; i < length; ++i) {
    values[i] = scaled_by_quotient(values[i], numerators[i], denominators[i]);
  }
}

template <class Loss, Labels labels, unsigned outputs = 1, class Real>
constexpr void set_outputs(Kernels<Real>& kernels) {
  constexpr bool has_terms = labels != Labels::weighted && sizeof(Real) == sizeof(float);
  constexpr unsigned last = has_terms ? wants_terms | wants_gradient | wants_hessian : 7;
  if constexpr ((outputs & (wants_loss | wants_terms)) != (wants_loss | wants_terms)) {
    kernels.evaluate[static_cast<int>(labels)][outputs] =
        evaluate_tile<Loss, outputs, labels, Real>;
  }
  if constexpr (outputs < last) {
    set_outputs<Loss, labels, outputs + 1>(kernels);
  }
}

template <class Element, class Real>
constexpr void set_load(Kernels<Real>& kernels, Dtype dtype) {
  kernels.load[static_cast<int>(dtype)] = load_run<Element, Real>;
}

template <class Loss, class Real>
constexpr Kernels<Real> make_kernels() {
  Kernels<Real> kernels{};
  set_outputs<Loss, Labels::targets>(kernels);
  set_outputs<Loss, Labels::unit>(kernels);
  set_outputs<Loss, Labels::weighted>(kernels);
  set_load<Boolean>(kernels, Dtype::boolean);
  set_load<std::int8_t>(kernels, Dtype::int8);
  set_load<std::uint8_t>(kernels, Dtype::uint8);
  set_load<std::int16_t>(kernels, Dtype::int16);
  set_load<std::uint16_t>(kernels, Dtype::uint16);
  set_load<std::int32_t>(kernels, Dtype::int32);
  set_load<std::uint32_t>(kernels, Dtype::uint32);
  set_load<std::int64_t>(kernels, Dtype::int64);
  set_load<std::uint64_t>(kernels, Dtype::uint64);
  set_load<Float16>(kernels, Dtype::float16);
  set_load<BFloat16>(kernels, Dtype::bfloat16);
  set_load<float>(kernels, Dtype::float32);
  set_load<double>(kernels, Dtype::float64);
  // A result has the type of the logits, so only these conversions occur.
  if constexpr (sizeof(Real) == sizeof(float)) {
    kernels.store[static_cast<int>(Dtype::float16)] = store_run<Float16, Real>;
    kernels.store[static_cast<int>(Dtype::bfloat16)] = store_run<BFloat16, Real>;
    kernels.store[static_cast<int>(Dtype::float32)] = store_run<float, Real>;
  } else {
    kernels.store[static_cast<int>(Dtype::float64)] = store_run<double, Real>;
  }
  kernels.prepare[static_cast<int>(Labels::targets)] = prepare<Labels::targets, Real>;
  kernels.prepare[static_cast<int>(Labels::unit)] = prepare<Labels::unit, Real>;
  kernels.prepare[static_cast<int>(Labels::weighted)] = prepare<Labels::weighted, Real>;
  kernels.ignore = ignore<Real>;
  kernels.count_existing = count_existing;
  kernels.count_others = count_others<Real>;
  kernels.denominators = denominators<Real>;
  kernels.load_with_complement = load_double_with_complement<Real>;
  kernels.sizes_of = sizes_of<Real>;
  kernels.sizes_of_doubles = sizes_of_doubles;
  kernels.holds_tail = holds_tail<Real>;
  kernels.add_lanes = add_lanes<Real>;
  kernels.add_rows = add_rows<Real>;
  kernels.add_columns = add_columns<Real>;
  if constexpr (sizeof(Real) == sizeof(float)) {
    kernels.add_term_lanes = add_term_lanes;
    kernels.add_term_rows = add_term_rows;
    kernels.add_term_columns = add_term_columns;
    kernels.add_logarithms = add_logarithms;
  }
  kernels.make_scale = make_scale<Real>;
  kernels.scale = scale_tile<Real>;
  return kernels;
}

}  // namespace

extern const KernelTable LOGITLOSS_KERNELS;
constexpr KernelTable LOGITLOSS_KERNELS = {make_kernels<BinaryCrossEntropy, float>(),
                                           make_kernels<BinaryCrossEntropy, double>()};

}  // namespace logitloss

// The loops over a contiguous tile, written once. Each isa_*.cpp names its table and includes
// this file, and is compiled for one instruction set; everything here has internal linkage but
// that table.

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "../losses/binary_cross_entropy.h"
#include "kernel_table.h"

namespace logitloss {
namespace {

#include "convert.inl"
#include "sums.inl"

template <class Real>
LOGITLOSS_INLINE int is_outside_unit_interval(Real y) {
  return static_cast<int>(!(y >= Real{0})) | static_cast<int>(!(y <= Real{1}));
}

template <class Real>
LOGITLOSS_INLINE Real scaled(Real value, Real high, Real low) {
  return multiply_add(value, high, value * low);
}

template <unsigned outputs, class Real>
LOGITLOSS_INLINE void put(const Tile<Real>& tile, std::size_t i, const Evaluated<Real>& element) {
  if constexpr ((outputs & wants_loss) != 0) {
    tile.loss[i] = element.loss;
  }
  if constexpr ((outputs & wants_gradient) != 0) {
    tile.gradient[i] = scaled(element.gradient, tile.scale.high, tile.scale.low);
  }
  if constexpr ((outputs & wants_hessian) != 0) {
    tile.hessian[i] = scaled(element.hessian, tile.scale.high, tile.scale.low);
  }
}

// Outputs may be the logits themselves, element for element.
template <class Loss, unsigned outputs, class Real>
bool plain_kernel(const Tile<Real>& arguments) {
  const Tile<Real> tile = arguments;
  int outside = 0;
  LOGITLOSS_INDEPENDENT_ITERATIONS
  for (std::size_t i = 0; i < tile.length; ++i) {
    const Real y = tile.positive[i];
    outside |= is_outside_unit_interval(y);
    put<outputs>(tile, i, Loss::evaluate(tile.logits[i], Real{1} - y, y, Real{1}));
  }
  return outside != 0;
}

template <class Loss, unsigned outputs, class Real>
void weighted_kernel(const Tile<Real>& arguments) {
  const Tile<Real> tile = arguments;
  LOGITLOSS_INDEPENDENT_ITERATIONS
  for (std::size_t i = 0; i < tile.length; ++i) {
    const Real negative = tile.negative[i];
    const Real positive = tile.positive[i];
    put<outputs>(tile, i, Loss::evaluate(tile.logits[i], negative, positive, negative + positive));
  }
}

// Where elements can be missing: nowhere, by a byte each, by their targets, or by both.
constexpr unsigned by_byte = 1;
constexpr unsigned by_target = 2;

template <unsigned missing, bool with_complements, class Real>
Prepared prepare_tile(const Preparation<Real>& arguments) {
  using Integer = typename Bits<Real>::Integer;
  const Preparation<Real> p = arguments;
  const bool ignores_nan = p.ignored != p.ignored;
  Integer outside = 0;
  Integer absent = 0;
  LOGITLOSS_INDEPENDENT_ITERATIONS
  for (std::size_t i = 0; i < p.length; ++i) {
    const Real y = p.targets[i];
    const Real complement = with_complements ? p.complements[i] : Real{1} - y;
    Real positive = multiply_add(y, p.smoothing_factor, p.smoothing_offset);
    Real negative = multiply_add(complement, p.smoothing_factor, p.smoothing_offset);
    positive = positive * p.pos_weight[i] * p.weight[i];
    negative = negative * p.weight[i];
    Integer is_outside = is_outside_unit_interval(y) | static_cast<int>(!(complement >= Real{0}));
    if constexpr (missing != 0) {
      bool is_missing = false;
      if constexpr ((missing & by_byte) != 0) {
        is_missing |= p.exists[i] == 0;
      }
      if constexpr ((missing & by_target) != 0) {
        is_missing |= (y == p.ignored) | (ignores_nan & (y != y));
      }
      p.masked_logits[i] = is_missing ? Real{0} : p.logits[i];
      positive = is_missing ? Real{0} : positive;
      negative = is_missing ? Real{0} : negative;
      is_outside = is_missing ? 0 : is_outside;
      absent += is_missing ? 1 : 0;
    }
    p.positive[i] = positive;
    p.negative[i] = negative;
    outside |= is_outside;
  }
  return {outside != 0, p.length - static_cast<std::size_t>(absent)};
}

template <class Real>
Prepared prepare(const Preparation<Real>& p) {
  if (p.complements != nullptr) {
    return p.exists != nullptr ? prepare_tile<by_byte, true>(p) : prepare_tile<0, true>(p);
  }
  if (p.has_ignored) {
    return p.exists != nullptr ? prepare_tile<by_byte | by_target, false>(p)
                               : prepare_tile<by_target, false>(p);
  }
  return p.exists != nullptr ? prepare_tile<by_byte, false>(p) : prepare_tile<0, false>(p);
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

template <class Real>
void denominators(const Real* weight, const std::uint8_t* exists, std::size_t length,
                  Real* result) {
  for (std::size_t i = 0; i < length; ++i) {
    const Real term = weight != nullptr ? weight[i] : Real{1};
    result[i] = exists == nullptr || exists[i] != 0 ? term : Real{0};
  }
}

LOGITLOSS_INLINE void split_quotient(double numerator, double denominator, Scale<float>& scale) {
  const double quotient = numerator / denominator;
  scale.high = static_cast<float>(quotient);
  scale.low = static_cast<float>(quotient - static_cast<double>(scale.high));
}

LOGITLOSS_INLINE void split_quotient(double numerator, double denominator, Scale<double>& scale) {
  scale.high = numerator / denominator;
  scale.low = 0.0;
  if constexpr (fused) {
    scale.low = multiply_add(-scale.high, denominator, numerator) / denominator;
  }
}

template <class Real>
LOGITLOSS_INLINE Scale<Real> quotient_of(double numerator, double denominator) {
  Scale<Real> scale{};
  split_quotient(numerator, denominator, scale);
  const bool finite = magnitude(scale.high) <= largest_summed<Real>;
  scale.low = finite ? scale.low : Real{0};
  const bool defined = denominator != 0.0;
  return {defined ? scale.high : Real{0}, defined ? scale.low : Real{0}};
}

template <class Real>
Scale<Real> make_scale(double numerator, double denominator) {
  return quotient_of<Real>(numerator, denominator);
}

template <class Real>
void scale_tile(Real* values, const double* numerators, const double* denominators,
                std::size_t length) {
  for (std::size_t i = 0; i < length; ++i) {
    const Scale<double> factor = quotient_of<double>(numerators[i], denominators[i]);
    const auto value = static_cast<double>(values[i]);
    values[i] = static_cast<Real>(scaled(value, factor.high, factor.low));
  }
}

template <class Loss, class Real>
constexpr void set_outputs(Kernels<Real>& kernels) {
  kernels.plain[1] = plain_kernel<Loss, 1, Real>;
  kernels.plain[2] = plain_kernel<Loss, 2, Real>;
  kernels.plain[3] = plain_kernel<Loss, 3, Real>;
  kernels.plain[4] = plain_kernel<Loss, 4, Real>;
  kernels.plain[5] = plain_kernel<Loss, 5, Real>;
  kernels.plain[6] = plain_kernel<Loss, 6, Real>;
  kernels.plain[7] = plain_kernel<Loss, 7, Real>;
  kernels.weighted[1] = weighted_kernel<Loss, 1, Real>;
  kernels.weighted[2] = weighted_kernel<Loss, 2, Real>;
  kernels.weighted[3] = weighted_kernel<Loss, 3, Real>;
  kernels.weighted[4] = weighted_kernel<Loss, 4, Real>;
  kernels.weighted[5] = weighted_kernel<Loss, 5, Real>;
  kernels.weighted[6] = weighted_kernel<Loss, 6, Real>;
  kernels.weighted[7] = weighted_kernel<Loss, 7, Real>;
}

template <class Element, class Real>
constexpr void set_load(Kernels<Real>& kernels, Dtype dtype) {
  kernels.load[static_cast<int>(dtype)] = load_run<Element, Real>;
}

template <class Loss, class Real>
constexpr Kernels<Real> make_kernels() {
  Kernels<Real> kernels{};
  set_outputs<Loss>(kernels);
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
  kernels.prepare = prepare<Real>;
  kernels.ignore = ignore<Real>;
  kernels.denominators = denominators<Real>;
  kernels.load_with_complement = load_double_with_complement<Real>;
  kernels.holds_extreme_weight = holds_extreme_weight;
  kernels.add_lanes = add_lanes<Real>;
  kernels.add_rows = add_rows<Real>;
  kernels.add_columns = add_columns<Real>;
  kernels.make_scale = make_scale<Real>;
  kernels.scale = scale_tile<Real>;
  return kernels;
}

}  // namespace

extern const KernelTable LOGITLOSS_KERNELS;
constexpr KernelTable LOGITLOSS_KERNELS = {make_kernels<BinaryCrossEntropy, float>(),
                                           make_kernels<BinaryCrossEntropy, double>()};

}  // namespace logitloss

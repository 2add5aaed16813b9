// Brings one tile of every operand into contiguous memory of the compute type.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "plan.h"

namespace logitloss {

template <class Real>
const Kernels<Real>& kernels_for(const KernelTable& table) {
  if constexpr (std::is_same_v<Real, float>) {
    return table.float32;
  } else {
    return table.float64;
  }
}

template <class Real>
constexpr Dtype dtype_of = std::is_same_v<Real, float> ? Dtype::float32 : Dtype::float64;

// Elements [first, first + count) of the operand where they stand, or null where they would have
// to be converted or gathered.
template <class Real>
Real* direct_tile(const Operand& operand, std::int64_t first) {
  if (operand.dtype != dtype_of<Real> || !operand.is_contiguous()) {
    return nullptr;
  }
  char* data = operand.data + (first - operand.first) * operand.item_size;
  const bool is_aligned = reinterpret_cast<std::uintptr_t>(data) % alignof(Real) == 0;
  return is_aligned ? reinterpret_cast<Real*>(data) : nullptr;
}

template <class Real>
class TileLoader {
 public:
  static constexpr std::int64_t capacity = static_cast<std::int64_t>(tile_length<Real>);

  explicit TileLoader(const Call& call) : call_(call), kernels_(kernels_for<Real>(*call.kernels)) {}

  // How large the weights are that were loaded since the last call, as a set of WeightSize.
  unsigned take_weight_sizes() { return std::exchange(weight_sizes_, 0U); }

  // The same of element i of the tile that was loaded last, by load_weighted.
  unsigned weight_sizes(std::int64_t i) const {
    return weight_size(call_.weight, factors_[0][i]) |
           weight_size(call_.pos_weight, factors_[1][i]);
  }

  // Where the weights of the labels come from.
  Labels labels() const {
    if (call_.weight.is_present() || call_.pos_weight.is_present()) {
      return Labels::weighted;
    }
    const bool are_targets = call_.label_smoothing == 0.0 && !needs_complements();
    return are_targets ? Labels::targets : Labels::unit;
  }

  const Real* load_logits(std::int64_t first, std::int64_t count) {
    return load(call_.logits, first, count, logits_);
  }

  const Real* load_targets(std::int64_t first, std::int64_t count) {
    return load(call_.targets, first, count, targets_);
  }

  // Fills logits, negative and positive of `tile`, as labels() says.
  Prepared load(std::int64_t first, std::int64_t count, Tile<Real>& tile) {
    return load(labels(), first, count, Real{1}, tile);
  }

  // The same for Labels::weighted, whatever the call is. Every weight is multiplied by `factor`.
  Prepared load_weighted(std::int64_t first, std::int64_t count, Real factor, Tile<Real>& tile) {
    return load(Labels::weighted, first, count, factor, tile);
  }

  // What each element adds to the denominator of a mean, times `factor`.
  const Real* load_denominators(std::int64_t first, std::int64_t count, Real factor) {
    const std::uint8_t* exists = load_mask(first, count);
    const bool weighted = call_.reduction == LOGITLOSS_WEIGHTED_MEAN && call_.weight.is_present();
    const Real* weight =
        weighted || factor != Real{1}
            ? load_factor(weighted ? call_.weight : Operand{}, first, count, factor, weight_)
            : nullptr;
    kernels_.denominators(weight, exists, unsigned_of(count), denominators_);
    return denominators_;
  }

  // How many elements exist of a tile that has a mask.
  std::size_t count_existing(std::int64_t first, std::int64_t count) {
    const bool by_target_alone = call_.has_ignore_index && !call_.where.is_present();
    if (by_target_alone && compares_targets_as_real()) {
      const Real* targets = load_targets(first, count);
      return kernels_.count_others(targets, call_.ignore_index, unsigned_of(count));
    }
    return kernels_.count_existing(load_mask(first, count), unsigned_of(count));
  }

  // One byte an element, 0 where it does not exist; null where all do.
  const std::uint8_t* load_mask(std::int64_t first, std::int64_t count) {
    const std::uint8_t* where = load_where(first, count);
    if (!call_.has_ignore_index) {
      return where;
    }
    if (where == nullptr) {
      std::memset(exists_, 1, unsigned_of(count));
    } else if (where != exists_) {
      std::memcpy(exists_, where, unsigned_of(count));
    }
    clear_ignored(first, count);
    return exists_;
  }

 private:
  static std::size_t unsigned_of(std::int64_t count) { return static_cast<std::size_t>(count); }

  Prepared load(Labels labels, std::int64_t first, std::int64_t count, Real factor,
                Tile<Real>& tile) {
    Preparation<Real> p{};
    p.length = unsigned_of(count);
    p.logits = load_logits(first, count);
    load_labels(first, count, p);
    load_missing(first, count, p);
    const bool is_masked = p.exists != nullptr || p.has_ignored;
    tile.logits = is_masked ? logits_ : p.logits;
    if (labels == Labels::targets && !is_masked) {
      tile.positive = p.targets;
      return {false, p.length};
    }
    if (labels == Labels::weighted) {
      p.weight = factors_[0] = load_factor(call_.weight, first, count, factor, weight_);
      p.pos_weight = factors_[1] =
          load_factor(call_.pos_weight, first, count, Real{1}, pos_weight_);
    }
    p.smoothing_factor = static_cast<Real>(1.0 - call_.label_smoothing);
    p.smoothing_offset = static_cast<Real>(call_.label_smoothing / 2.0);
    p.masked_logits = logits_;
    tile.negative = p.negative = negative_;
    tile.positive = p.positive = positive_;
    return kernels_.prepare[static_cast<int>(labels)](p);
  }

  void load_labels(std::int64_t first, std::int64_t count, Preparation<Real>& p) {
    if (!needs_complements()) {
      p.targets = load_targets(first, count);
      return;
    }
    for_each_run(
        call_.targets, first, count,
        [&](const char* data, std::ptrdiff_t stride, std::int64_t offset, std::int64_t length) {
          kernels_.load_with_complement(data, stride, unsigned_of(length), targets_ + offset,
                                        complements_ + offset);
        });
    p.targets = targets_;
    p.complements = complements_;
  }

  void load_missing(std::int64_t first, std::int64_t count, Preparation<Real>& p) {
    if (call_.has_ignore_index && compares_targets_as_real()) {
      p.exists = load_where(first, count);
      p.has_ignored = is_ignored_real();
      p.ignored = static_cast<Real>(call_.ignore_index);
    } else {
      p.exists = load_mask(first, count);
    }
  }

  // A complement 1 - y that is formed in float would lose what a float64 target says.
  bool needs_complements() const {
    return call_.targets.dtype == Dtype::float64 && std::is_same_v<Real, float>;
  }

  template <class Element>
  void gather(const Kernels<Element>& kernels, const Operand& operand, std::int64_t first,
              std::int64_t count, Element* buffer) const {
    const auto load_run = kernels.load[static_cast<int>(operand.dtype)];
    for_each_run(
        operand, first, count,
        [&](const char* data, std::ptrdiff_t stride, std::int64_t offset, std::int64_t length) {
          load_run(data, stride, unsigned_of(length), buffer + offset);
        });
  }

  const Real* load(const Operand& operand, std::int64_t first, std::int64_t count, Real* buffer) {
    if (const Real* direct = direct_tile<Real>(operand, first)) {
      return direct;
    }
    gather(kernels_, operand, first, count, buffer);
    return buffer;
  }

  // A tile of weights. One that holds a single number throughout keeps it for later tiles, and so
  // does one that repeats a short row: two tiles of it hold every tile that begins within it.
  struct FactorBuffer {
    alignas(64) Real values[2 * capacity];
    std::int64_t filled = 0;
    unsigned sizes = 0;
  };

  const Real* load_factor(const Operand& operand, std::int64_t first, std::int64_t count,
                          Real factor, FactorBuffer& buffer) {
    if (!operand.is_present() || operand.is_scalar()) {
      return repeat_number(operand, count, factor, buffer);
    }
    if (factor == Real{1} && operand.repeats_row() && operand.length[1] <= capacity) {
      return repeat_row(operand, first, count, buffer);
    }
    buffer.filled = 0;
    const Real* values = load(operand, first, count, buffer.values);
    weight_sizes_ |= sizes_of(operand, first, count, values);
    if (factor == Real{1}) {
      return values;
    }
    for (std::int64_t i = 0; i < count; ++i) {
      buffer.values[i] = values[i] * factor;
    }
    return buffer.values;
  }

  const Real* repeat_number(const Operand& operand, std::int64_t count, Real factor,
                            FactorBuffer& buffer) {
    if (count > buffer.filled || factor != Real{1}) {
      Real value{1};
      if (operand.is_present()) {
        gather(kernels_, operand, 0, 1, &value);
        buffer.sizes = sizes_of(operand, 0, 1, &value);
      }
      std::fill_n(buffer.values, count, value * factor);
      buffer.filled = factor == Real{1} ? count : 0;
    }
    weight_sizes_ |= buffer.sizes;
    return buffer.values;
  }

  const Real* repeat_row(const Operand& operand, std::int64_t first, std::int64_t count,
                         FactorBuffer& buffer) {
    const std::int64_t start = first % operand.length[1];
    if (start + count > buffer.filled) {
      buffer.filled = std::min(operand.length[1] + capacity, operand.length[0] * operand.length[1]);
      gather(kernels_, operand, 0, buffer.filled, buffer.values);
      buffer.sizes = sizes_of(operand, 0, operand.length[1], buffer.values);
    }
    // A tile shorter than a row must not take notice of columns that it does not reach.
    const Real* values = buffer.values + start;
    const bool reaches_all = count >= operand.length[1];
    weight_sizes_ |= reaches_all ? buffer.sizes : sizes_of(operand, first, count, values);
    return values;
  }

  // In the type in which a tile of float is looked at.
  unsigned weight_size(const Operand& operand, Real value) const {
    const bool is_exact = operand.dtype == Dtype::float64;
    const Real seen = is_exact ? value : static_cast<Real>(static_cast<float>(value));
    return kernels_.sizes_of(&seen, 1);
  }

  // `values` are the weights as they were loaded, or rounded from float64.
  unsigned sizes_of(const Operand& weight, std::int64_t first, std::int64_t count,
                    const Real* values) const {
    if (!std::is_same_v<Real, float>) {
      return 0;
    }
    if (weight.dtype != Dtype::float64) {
      return kernels_.sizes_of(values, unsigned_of(count));
    }
    unsigned sizes = 0;
    for_each_run(weight, first, count,
                 [&](const char* data, std::ptrdiff_t stride, std::int64_t, std::int64_t length) {
                   sizes |= kernels_.sizes_of_doubles(data, stride, unsigned_of(length));
                 });
    return sizes;
  }

  const std::uint8_t* load_where(std::int64_t first, std::int64_t count) {
    if (!call_.where.is_present()) {
      return nullptr;
    }
    if (call_.where.is_contiguous()) {
      return reinterpret_cast<const std::uint8_t*>(call_.where.data + (first - call_.where.first));
    }
    for_each_run(
        call_.where, first, count,
        [&](const char* data, std::ptrdiff_t stride, std::int64_t offset, std::int64_t length) {
          for (std::int64_t i = 0; i < length; ++i) {
            exists_[offset + i] = static_cast<std::uint8_t>(data[i * stride]);
          }
        });
    return exists_;
  }

  // Whether Real holds every value of the targets' type.
  bool compares_targets_as_real() const {
    const Dtype dtype = call_.targets.dtype;
    return !std::is_same_v<Real, float> || dtype <= Dtype::uint16 || dtype == Dtype::float16 ||
           dtype == Dtype::bfloat16 || dtype == Dtype::float32;
  }

  // A value that Real does not hold is not the value of any target.
  bool is_ignored_real() const {
    const double value = call_.ignore_index;
    return value != value || static_cast<double>(static_cast<Real>(value)) == value;
  }

  // Compared in a type that holds every target exactly.
  void clear_ignored(std::int64_t first, std::int64_t count) {
    if (compares_targets_as_real()) {
      const Real* targets = load_targets(first, count);
      kernels_.ignore(targets, call_.ignore_index, unsigned_of(count), exists_);
      return;
    }
    constexpr std::int64_t step = static_cast<std::int64_t>(tile_length<double>);
    const Kernels<double>& wide = call_.kernels->float64;
    for (std::int64_t done = 0; done < count; done += step) {
      const std::int64_t length = std::min(step, count - done);
      gather(wide, call_.targets, first + done, length, wide_targets_);
      wide.ignore(wide_targets_, call_.ignore_index, unsigned_of(length), exists_ + done);
    }
  }

  const Call& call_;
  const Kernels<Real>& kernels_;
  unsigned weight_sizes_ = 0;
  const Real* factors_[2] = {};
  alignas(64) Real logits_[capacity];
  alignas(64) Real targets_[capacity];
  alignas(64) Real complements_[capacity];
  FactorBuffer weight_;
  FactorBuffer pos_weight_;
  alignas(64) Real negative_[capacity];
  alignas(64) Real positive_[capacity];
  alignas(64) Real denominators_[capacity];
  alignas(64) double wide_targets_[tile_length<double>];
  alignas(64) std::uint8_t exists_[capacity];
};

}  // namespace logitloss

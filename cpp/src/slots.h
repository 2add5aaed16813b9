// The running sums of one segment of the walk.
#pragma once

#include <algorithm>
#include <cstdint>

#include "math/platform.h"
#include "sum.h"
#include "walk.h"

namespace logitloss {

// A slot is a Sum, stored by its parts so that kernels can add to many at once, and, where terms
// are added, the product of all 1 + exp(-a), less 1, whose logarithm it lacks until it is closed.
class Slots {
 public:
  void clear(const Geometry& geometry, const Segment& segment) {
    walk_ = geometry.walk;
    length_ = segment.length;
    outputs_ = segment.outputs;
    count_ = slot_count(geometry, segment);
    std::fill_n(high_, count_, 0.0);
    std::fill_n(low_, count_, 0.0);
    has_large_ = false;
    has_products_ = false;
  }

  // Adds a tile that starts at slot 0; false, with nothing added, where some term is not fit for
  // a plain sum.
  template <class Real>
  bool add(const Kernels<Real>& kernels, const Real* values, std::int64_t count) {
    const auto size = static_cast<std::size_t>(count);
    switch (walk_) {
      case Walk::rows:
        return kernels.add_rows(values, static_cast<std::size_t>(count / length_),
                                static_cast<std::size_t>(length_), high_, low_);
      case Walk::columns:
        return kernels.add_columns(values, size, static_cast<std::size_t>(count_), high_, low_);
      default:
        return kernels.add_lanes(values, size, high_, low_);
    }
  }

  // Adds the terms of a tile that starts at slot 0.
  void add_terms(const Kernels<float>& kernels, const float* linear, const float* exponential,
                 std::int64_t count) {
    if (!has_products_) {
      has_products_ = true;
      std::fill_n(product_, count_, 0.0);
    }
    const auto size = static_cast<std::size_t>(count);
    switch (walk_) {
      case Walk::rows:
        kernels.add_term_rows(linear, exponential, static_cast<std::size_t>(count / length_),
                              static_cast<std::size_t>(length_), high_, product_);
        return;
      case Walk::columns:
        kernels.add_term_columns(linear, exponential, size, static_cast<std::size_t>(count_), high_,
                                 product_);
        return;
      default:
        kernels.add_term_lanes(linear, exponential, size, high_, product_);
    }
  }

  // Turns products into sums, after the last tile.
  void close(const Kernels<float>& kernels) {
    if (!has_products_) {
      return;
    }
    if (kernels.add_logarithms(product_, static_cast<std::size_t>(count_), high_, low_)) {
      return;
    }
    for (std::int64_t k = 0; k < count_; ++k) {
      if (!is_finite(high_[k] + product_[k])) {
        add_large(k, high_[k] + product_[k]);
        high_[k] = 0.0;
        low_[k] = 0.0;
      }
    }
  }

  // Adds element `index` of a tile, or `scaled`, which is 2^-512 of it, where it is too large or
  // NaN.
  void add_one(std::int64_t index, double term, double scaled) {
    const std::int64_t slot = walk_ == Walk::rows ? index / length_ : index % count_;
    constexpr double largest_summed = 0x1p960;
    if (term >= -largest_summed && term <= largest_summed) {
      add_to(high_[slot], low_[slot], term);
      return;
    }
    add_large(slot, scaled);
  }

  // Adds `count` ones to the only output of blocks; sums of ones are exact in any order.
  void add_ones(std::size_t count) { high_[0] += static_cast<double>(count); }

  // The sum of one output of the segment.
  Sum sum(std::int64_t output) {
    switch (walk_) {
      case Walk::rows:
        return slot(output);
      case Walk::columns: {
        Sum total;
        for (std::int64_t k = output; k < count_; k += outputs_) {
          total.add(slot(k));
        }
        return total;
      }
      default:
        return tree();
    }
  }

 private:
  void add_large(std::int64_t slot, double scaled) {
    if (!has_large_) {
      has_large_ = true;
      std::fill_n(large_high_, count_, 0.0);
      std::fill_n(large_low_, count_, 0.0);
    }
    add_to(large_high_[slot], large_low_[slot], scaled);
  }

  Sum slot(std::int64_t k) const {
    Sum sum;
    sum.high = high_[k];
    sum.low = low_[k];
    if (has_large_) {
      sum.large_high = large_high_[k];
      sum.large_low = large_low_[k];
    }
    return sum;
  }

  // Halves the lanes until one is left; lanes that were never used count as zero.
  Sum tree() {
    for (std::int64_t half = static_cast<std::int64_t>(lane_count) / 2; half > 0; half /= 2) {
      const std::int64_t pairs = std::min(half, count_ - half);
      fold(high_, low_, half, pairs);
      if (has_large_) {
        fold(large_high_, large_low_, half, pairs);
      }
      count_ = std::min(count_, half);
    }
    return slot(0);
  }

  static void fold(double* high, double* low, std::int64_t half, std::int64_t pairs) {
    LOGITLOSS_INDEPENDENT_ITERATIONS
    for (std::int64_t k = 0; k < pairs; ++k) {
      add_to(high[k], low[k], high[k + half]);
      low[k] += low[k + half];
    }
  }

  Walk walk_ = Walk::blocks;
  std::int64_t length_ = 0;
  std::int64_t outputs_ = 1;
  std::int64_t count_ = 0;
  bool has_large_ = false;
  bool has_products_ = false;
  alignas(64) double product_[slot_capacity];
  alignas(64) double high_[slot_capacity];
  alignas(64) double low_[slot_capacity];
  alignas(64) double large_high_[slot_capacity];
  alignas(64) double large_low_[slot_capacity];
};

}  // namespace logitloss

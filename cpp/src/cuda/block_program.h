// What a block of threads does, written once: a GPU runs it, and so does the host, thread after
// thread, to be compared with the CPU's kernels bit by bit.
//
// A program is a sequence of phases. In a phase each thread works by itself; between phases all
// wait for one another. What passes from one phase to the next lies in shared memory. A Block
// provides
//
//   each_thread(f)      a phase: f(thread) for every thread, then all wait
//   one_thread(f)       f() in one thread; the others go on
//   wait()              all wait
//   merge(word, bits)   word |= bits, by many threads at once
//
// The order of every sum is that of the CPU: the walk, the slots and the tree are the same.
#pragma once

#include <cstdint>

#include "../losses/binary_cross_entropy.h"
#include "../losses/labels.h"
#include "../walk.h"
#include "elements.h"

namespace logitloss::cuda {
namespace {

constexpr int block_threads = 128;
// Packs of a tile that a thread takes.
template <class Real>
constexpr int packs_per_thread =
    static_cast<int>(tile_length<Real>) / (block_threads * pack_length<Real>);

// What was seen of a tile, as bits.
enum Seen : unsigned {
  seen_bad_target = 1,
  // Weights: amplifies and is_extreme, shifted by two.
  seen_amplifying_weight = amplifies << 2,
  seen_extreme_weight = is_extreme << 2,
  seen_tail = 16,
  // A loss that a plain sum cannot take.
  seen_large = 32,
};

// Room of a block that sums, beside its slots.
template <class Real>
struct Shared {
  alignas(16) Real loss[tile_length<Real>];
  alignas(16) Real exponential[tile_length<Real>];
  // Lanes of rows that are summed at once.
  double lane_first[block_threads];
  double lane_second[block_threads];
  unsigned seen;
};

// The slots of a segment, in the order of additions of class Slots, and the sums of denominators of
// its outputs. Every address follows from two numbers, so that they cost few registers.
class SlotArrays {
 public:
  static constexpr std::size_t bytes(std::size_t capacity) {
    return capacity * (5 * sizeof(double) + sizeof(Sum));
  }

  LOGITLOSS_INLINE SlotArrays(double* memory, unsigned capacity)
      : memory_(memory), capacity_(capacity) {}

  LOGITLOSS_INLINE double* high() const { return memory_; }
  LOGITLOSS_INLINE double* low() const { return memory_ + capacity_; }
  LOGITLOSS_INLINE double* product() const { return memory_ + 2 * capacity_; }
  LOGITLOSS_INLINE double* large_high() const { return memory_ + 3 * capacity_; }
  LOGITLOSS_INLINE double* large_low() const { return memory_ + 4 * capacity_; }
  LOGITLOSS_INLINE Sum* denominators() const {
    return reinterpret_cast<Sum*>(memory_ + 5 * capacity_);
  }

  LOGITLOSS_INLINE Sum sum(std::int64_t k) const {
    return {high()[k], low()[k], large_high()[k], large_low()[k]};
  }

  LOGITLOSS_INLINE void set(std::int64_t k, const Sum& sum) const {
    high()[k] = sum.high;
    low()[k] = sum.low;
    product()[k] = 0.0;
    large_high()[k] = sum.large_high;
    large_low()[k] = sum.large_low;
  }

 private:
  double* memory_;
  unsigned capacity_;
};

// One element as it is read: the logit, the weights of the two labels and what they are made of.
template <class Real>
struct Element {
  Real x;
  Real negative;
  Real positive;
  Real total;
  bool exists;
  unsigned seen;
};

// Whether the target marks the element as missing; compared as float64, which holds all targets
// that can be marks.
LOGITLOSS_INLINE bool is_ignored(const DeviceCall& call, std::int64_t index) {
  if (!call.has_ignore_index) {
    return false;
  }
  const double target = load_one<double>(call.targets, index);
  const double mark = call.ignore_index;
  return target == mark || (mark != mark && target != target);
}

LOGITLOSS_OUTLINED bool is_missing(const DeviceCall& call, std::int64_t index) {
  if (call.where.is_present()) {
    const bool is_there = load_one<float>(call.where, index) != 0.0F;
    return !is_there || is_ignored(call, index);
  }
  return is_ignored(call, index);
}

template <class Real>
LOGITLOSS_INLINE unsigned seen_of_weight(const DeviceOperand& weight, std::int64_t index,
                                         Real value) {
  if (!weight.is_present() || sizeof(Real) == sizeof(double)) {
    return 0;
  }
  const bool is_exact = weight.is_number || weight.dtype == Dtype::float64;
  return (is_exact ? size_of_weight(load_one<double>(weight, index)) : size_of_weight(value)) << 2;
}

template <class Real>
LOGITLOSS_INLINE Real weight_of(const DeviceOperand& weight, std::int64_t index) {
  return weight.is_present() ? load_one<Real>(weight, index) : Real{1};
}

// `factor` multiplies the weight; `x` and `target` are as they were read.
template <class Real>
LOGITLOSS_INLINE Element<Real> make_element(const DeviceCall& call, std::int64_t index, Real x,
                                            Real target, Real factor, bool as_weighted) {
  const bool has_complement = call.targets.dtype == Dtype::float64 && sizeof(Real) == sizeof(float);
  const bool is_weighted = as_weighted || call.has_weights();
  const bool are_targets = !is_weighted && !has_complement && call.label_smoothing == 0.0;
  Real y = target;
  Real complement = Real{1} - y;
  if (has_complement) {
    const double exact = load_one<double>(call.targets, index);
    y = rounded_target<Real>(exact);
    complement = static_cast<Real>(1.0 - exact);
  }
  LabelWeights<Real> weights{complement, y};
  bool is_bad = is_outside_unit_interval(y) != 0;
  unsigned seen = 0;
  if (!are_targets) {
    weights = smoothed(y, complement, static_cast<Real>(1.0 - call.label_smoothing),
                       static_cast<Real>(call.label_smoothing / 2.0));
    is_bad = is_outside_unit_interval(y, complement) != 0;
  }
  if (is_weighted) {
    const Real weight = weight_of<Real>(call.weight, index);
    const Real pos_weight = weight_of<Real>(call.pos_weight, index);
    weights = weighted(weights, weight * factor, pos_weight);
    seen = seen_of_weight(call.weight, index, weight) |
           seen_of_weight(call.pos_weight, index, pos_weight);
  }
  const bool exists = !call.is_masked() || !is_missing(call, index);
  if (!exists) {
    x = infinity<Real>;
    weights = missing_labels<Real>(is_weighted);
    is_bad = false;
  }
  Element<Real> element{x, weights.negative, weights.positive, Real{1}, exists, seen};
  element.total = is_weighted ? element.negative + element.positive : Real{1};
  element.seen |= is_bad ? unsigned{seen_bad_target} : 0U;
  element.seen |= is_in_tail(element.x) ? unsigned{seen_tail} : 0U;
  return element;
}

// What derivatives are multiplied by: the quotient of two numbers, of which a segment has one pair
// or each element its own.
template <class Real>
struct Factor {
  bool is_uniform;
  double numerator;
  double denominator;
  // The quotient, or 1 where elements have their own.
  Scale<Real> scale;
};

template <class Real>
LOGITLOSS_INLINE Factor<Real> factor_of(const DeviceCall& call, double denominator) {
  const bool has_one_numerator = !call.grad_output.is_present() || call.grad_output.is_scalar();
  Factor<Real> factor{
      has_one_numerator && !call.has_divisors_by_output(), 1.0, denominator, {Real{1}, Real{0}}};
  if (has_one_numerator && call.grad_output.is_present()) {
    factor.numerator = load_one<double>(call.grad_output, 0);
  }
  if (factor.is_uniform) {
    factor.scale = quotient_of<Real>(factor.numerator, denominator);
  }
  return factor;
}

// The result of one element.
template <class Real>
struct Result {
  Real loss = Real{0};
  Real linear = Real{0};
  Real exponential = Real{0};
  Real gradient = Real{0};
  Real hessian = Real{0};
};

template <class Real>
LOGITLOSS_INLINE Real scaled_derivative(Real derivative, const Factor<Real>& factor,
                                        double numerator, double denominator, bool is_weighted) {
  const Real once = is_weighted
                        ? scaled_also_if_infinite(derivative, factor.scale.high, factor.scale.low)
                        : scaled(derivative, factor.scale.high, factor.scale.low);
  return factor.is_uniform ? once : scaled_by_quotient(once, numerator, denominator);
}

template <class Real>
LOGITLOSS_INLINE Result<Real> evaluate_element(const Element<Real>& element, unsigned outputs,
                                               const Factor<Real>& factor, double numerator,
                                               double denominator, bool is_weighted) {
  using Loss = BinaryCrossEntropy;
  const Pair<Real> e = Loss::exponential(element.x);
  const Real m = Loss::opposed(element.x, element.negative, element.positive);
  Result<Real> result;
  if ((outputs & wants_terms) != 0) {
    result.linear = Loss::linear(element.x, m);
    result.exponential = e.high;
  }
  if ((outputs & wants_loss) != 0) {
    result.loss = Loss::loss(element.x, m, element.total, e);
  }
  if ((outputs & (wants_gradient | wants_hessian)) != 0) {
    const Real t = sigmoid_from(e);
    if ((outputs & wants_gradient) != 0) {
      result.gradient = scaled_derivative(Loss::gradient(element.x, m, element.total, t), factor,
                                          numerator, denominator, is_weighted);
    }
    if ((outputs & wants_hessian) != 0) {
      result.hessian = scaled_derivative(Loss::hessian(element.total, t), factor, numerator,
                                         denominator, is_weighted);
    }
  }
  return result;
}

LOGITLOSS_INLINE bool is_unfit_for_float(unsigned sizes, bool is_in_tail) {
  return (sizes & is_extreme) != 0 || ((sizes & amplifies) != 0 && is_in_tail);
}

// The program of one block over one call. Members are the same for all threads.
template <class Real, class Block>
class Program {
 public:
  static constexpr auto capacity = static_cast<std::int64_t>(tile_length<Real>);
  static constexpr int packs = packs_per_thread<Real>;
  static constexpr int pack = pack_length<Real>;
  // From one pack of a thread to the next.
  static constexpr int pack_step = block_threads * pack;

  // A program that sums nothing is given no memory.
  LOGITLOSS_INLINE Program(const DeviceCall& call, Shared<Real>* shared, const SlotArrays& slots)
      : call_(call), shared_(shared), slots_(slots) {}

  // Elements [unit * capacity, ...) of a call that sums nothing, without weights, masks or
  // factors that float cannot take.
  template <unsigned outputs>
  LOGITLOSS_INLINE void run_plain_elements(std::int64_t unit) {
    const std::int64_t first = unit * capacity;
    const Factor<Real> factor = plain_factor();
    evaluate_plain<outputs>(first, least(capacity, call_.size - first), factor);
  }

  // The same of any call that sums nothing.
  LOGITLOSS_INLINE void run_elements(std::int64_t unit) {
    const Factor<Real> factor = factor_of<Real>(call_, call_.fixed_denominator);
    const std::int64_t first = unit * capacity;
    const unsigned outputs = (call_.value.is_present() ? wants_loss : 0U) | derivatives();
    evaluate(first, least(capacity, call_.size - first), Segment{}, factor, outputs);
  }

  // A unit of a plain call that sums its losses. A segment with a term that a plain sum cannot take
  // is summed again, which is rare, so that nothing else stands in the loop.
  template <unsigned outputs>
  LOGITLOSS_INLINE void run_plain_sums(std::int64_t unit) {
    const Factor<Real> factor = plain_factor();
    const Segment segment = segment_of(unit);
    clear(segment);
    has_products_ = (outputs & wants_terms) != 0;
    for_each_tile(segment, [&](std::int64_t first, std::int64_t count) {
      evaluate_plain<outputs>(first, count, factor);
      add_plain(segment, count, (outputs & wants_terms) != 0);
    });
    const unsigned seen = shared_->seen;
    block_.wait();
    if (seen == 0) {
      copy().finish(segment);
    } else {
      copy().sum_segment(segment);
    }
  }

  // A unit of any call that sums losses or denominators.
  LOGITLOSS_INLINE void run_sums(std::int64_t unit) { copy().sum_segment(segment_of(unit)); }

  // The sums of denominators of a unit, into the parts.
  LOGITLOSS_INLINE void run_denominators(std::int64_t unit) {
    const Segment segment = segment_of(unit);
    sum_denominators(segment);
    copy().put_parts(segment, call_.denominators);
  }

  // The denominator of one output that has several parts.
  LOGITLOSS_INLINE void run_total_denominator(std::int64_t output) {
    copy().sum_parts(call_.denominators, output);
    block_.each_thread([&](int thread) {
      if (thread == 0) {
        call_.total_denominators[output] = slots_.sum(0);
      }
    });
  }

  // The value of one output that has several parts.
  LOGITLOSS_INLINE void run_value(std::int64_t output) {
    copy().sum_parts(call_.losses, output);
    block_.each_thread([&](int thread) {
      if (thread == 0) {
        copy().put_value(
            output, slots_.sum(0),
            call_.has_summed_denominator ? call_.total_denominators[output] : fixed_sum());
      }
    });
  }

  // The value of an output that is a sum or a mean of nothing.
  LOGITLOSS_INLINE void run_empty_value(std::int64_t output) {
    block_.one_thread([&] { copy().put_value(output, Sum{}, Sum{}); });
  }

 private:
  // Outlined functions are members of a copy, so that this object can live in registers.
  LOGITLOSS_INLINE Program copy() const { return *this; }

  // A unit of a device has one segment.
  LOGITLOSS_INLINE Segment segment_of(std::int64_t unit) const {
    return segment_at(call_.geometry, unit, 0, capacity);
  }

  LOGITLOSS_INLINE double fixed() const { return call_.fixed_denominator; }
  LOGITLOSS_INLINE Sum fixed_sum() const { return {fixed(), 0.0, 0.0, 0.0}; }

  // Plain calls have one factor, which the host has computed.
  LOGITLOSS_INLINE Factor<Real> plain_factor() const {
    const Scale<double> scale = call_.fixed_scale;
    return {true, 1.0, 1.0, {static_cast<Real>(scale.high), static_cast<Real>(scale.low)}};
  }

  LOGITLOSS_INLINE unsigned derivatives() const {
    return (call_.gradient.is_present() ? wants_gradient : 0U) |
           (call_.hessian.is_present() ? wants_hessian : 0U);
  }

  // Losses are summed by their terms where that needs no weights.
  LOGITLOSS_INLINE bool sums_terms() const {
    return sizeof(Real) == sizeof(float) && !call_.has_weights();
  }

  LOGITLOSS_INLINE unsigned losses_wanted() const {
    return call_.sums_losses() ? (sums_terms() ? wants_terms : wants_loss) : 0U;
  }

  // What an output of a segment of any call needs.
  LOGITLOSS_OUTLINED void sum_segment(const Segment& segment) {
    find_denominators(segment);
    const bool is_summed = call_.has_summed_denominator;
    const Factor<Real> factor =
        factor_of<Real>(call_, is_summed ? slots_.denominators()[0].value() : fixed());
    const unsigned losses = losses_wanted();
    // In place, the sum of a difficult tile reads logits again.
    const unsigned with_losses = call_.is_in_place ? losses : losses | derivatives();
    clear(segment);
    for_each_tile(segment, [&](std::int64_t first, std::int64_t count) {
      evaluate(first, count, segment, factor, with_losses);
      if (losses != 0) {
        add_losses(segment, first, count);
      }
      if (call_.is_in_place) {
        evaluate(first, count, segment, factor, derivatives());
      }
    });
    if (losses != 0) {
      copy().finish(segment);
    }
  }

  // Elements [first, first + count) of contiguous operands, a tile at most.
  template <unsigned outputs>
  LOGITLOSS_INLINE void evaluate_plain(std::int64_t first, std::int64_t count,
                                       const Factor<Real>& factor) {
    block_.each_thread([&](int thread) {
      const int offset = thread * pack;
      const int length = static_cast<int>(count) - offset;
      if (length > 0) {
        evaluate_packs<outputs>(first + offset, offset, length, factor);
      }
    });
  }

  // The packs of one thread, the first of which is `offset` after the first element of the tile.
  template <unsigned outputs>
  LOGITLOSS_INLINE void evaluate_packs(std::int64_t first, int offset, int length,
                                       const Factor<Real>& factor) {
    Real x[packs][pack];
    Real y[packs][pack];
    Result<Real> results[packs][pack];
    load_result_packs(call_.logits, first, pack_step, length, x);
    load_packs(call_.targets, first, pack_step, length, y);
    unsigned seen = 0;
    each_of_packs([&](int p, int k) {
      const Real target = y[p][k];
      const bool is_bad = is_outside_unit_interval(target) != 0;
      const Element<Real> element{x[p][k], Real{1} - target, target, Real{1}, true, 0};
      results[p][k] = evaluate_element(element, outputs, factor, 1.0, 1.0, false);
      seen |= is_bad ? unsigned{seen_bad_target} : 0U;
      seen |= size_of_loss<outputs>(results[p][k]);
    });
    if constexpr ((outputs & wants_terms) != 0) {
      put_shared(results, &Result<Real>::linear, shared_->loss + offset);
      put_shared(results, &Result<Real>::exponential, shared_->exponential + offset);
    }
    if constexpr ((outputs & wants_loss) != 0) {
      if (call_.is_reduced()) {
        put_shared(results, &Result<Real>::loss, shared_->loss + offset);
      } else {
        put_array(results, &Result<Real>::loss, call_.value, first, length);
      }
    }
    if constexpr ((outputs & (wants_loss | wants_terms)) != 0) {
      note(seen);
    }
    if constexpr ((outputs & wants_gradient) != 0) {
      put_array(results, &Result<Real>::gradient, call_.gradient, first, length);
    }
    if constexpr ((outputs & wants_hessian) != 0) {
      put_array(results, &Result<Real>::hessian, call_.hessian, first, length);
    }
  }

  template <class Visit>
  static LOGITLOSS_INLINE void each_of_packs(Visit visit) {
    LOGITLOSS_UNROLLED
    for (int p = 0; p < packs; ++p) {
      LOGITLOSS_UNROLLED
      for (int k = 0; k < pack; ++k) {
        visit(p, k);
      }
    }
  }

  // Shared memory has room for whole tiles; what is beyond the last element is not read.
  LOGITLOSS_INLINE void put_shared(const Result<Real> (&results)[packs][pack],
                                   Real Result<Real>::* member, Real* target) const {
    each_of_packs([&](int p, int k) { target[p * pack_step + k] = results[p][k].*member; });
  }

  LOGITLOSS_INLINE void put_array(const Result<Real> (&results)[packs][pack],
                                  Real Result<Real>::* member, const DeviceOperand& target,
                                  std::int64_t first, int length) const {
    Real values[packs][pack];
    each_of_packs([&](int p, int k) { values[p][k] = results[p][k].*member; });
    store_packs(target, first, pack_step, length, values);
  }

  // What was seen matters to sums alone.
  LOGITLOSS_INLINE void note(unsigned seen) {
    if (seen != 0 && call_.is_reduced()) {
      block_.merge(shared_->seen, seen);
    }
  }

  // Elements of any call: a tile at most, neighbouring ones by neighbouring threads.
  LOGITLOSS_INLINE void evaluate(std::int64_t first, std::int64_t count, const Segment& segment,
                                 const Factor<Real>& factor, unsigned outputs) {
    block_.each_thread([&](int thread) {
      for (int offset = thread; offset < count; offset += block_threads) {
        copy().evaluate_one(first + offset, offset, segment, factor, outputs);
      }
    });
  }

  LOGITLOSS_OUTLINED void evaluate_one(std::int64_t index, int offset, const Segment& segment,
                                       const Factor<Real>& factor, unsigned outputs) {
    const Element<Real> element =
        make_element(call_, index, load_one<Real>(call_.logits, index),
                     load_one<Real>(call_.targets, index), Real{1}, false);
    double numerator = factor.numerator;
    double denominator = factor.denominator;
    unsigned scale_size = 0;
    if ((outputs & (wants_gradient | wants_hessian)) != 0) {
      find_quotient(index, offset, segment, factor, numerator, denominator);
      scale_size = size_of_scale(numerator, denominator);
    }
    Result<Real> result =
        evaluate_element(element, outputs, factor, numerator, denominator, call_.has_weights());
    if constexpr (sizeof(Real) == sizeof(float)) {
      const unsigned weight_size = element.seen >> 2 & 3U;
      const bool in_tail = (element.seen & seen_tail) != 0;
      if (is_unfit_for_float(weight_size | scale_size, in_tail)) {
        const bool mends_loss = is_unfit_for_float(weight_size, in_tail);
        copy().mend_in_float64(index, factor, numerator, denominator, mends_loss, outputs, result);
      }
    }
    if (!element.exists && !is_finite_quotient(numerator, denominator)) {
      result.gradient = Real{0};
      result.hessian = Real{0};
    }
    put_result(index, offset, outputs, result, element.seen | size_of_loss<wants_loss>(result));
  }

  LOGITLOSS_INLINE void put_result(std::int64_t index, int offset, unsigned outputs,
                                   const Result<Real>& result, unsigned seen) {
    if ((outputs & wants_terms) != 0) {
      shared_->loss[offset] = result.linear;
      shared_->exponential[offset] = result.exponential;
    }
    if ((outputs & wants_loss) != 0 && call_.is_reduced()) {
      shared_->loss[offset] = result.loss;
    }
    if ((outputs & wants_loss) != 0 && !call_.is_reduced()) {
      store_one(call_.value, index, result.loss);
    }
    if ((outputs & (wants_loss | wants_terms)) != 0) {
      note(seen);
    }
    if ((outputs & wants_gradient) != 0) {
      store_one(call_.gradient, index, result.gradient);
    }
    if ((outputs & wants_hessian) != 0) {
      store_one(call_.hessian, index, result.hessian);
    }
  }

  // The pair of numbers whose quotient an element's derivatives are multiplied by.
  LOGITLOSS_INLINE void find_quotient(std::int64_t index, int offset, const Segment& segment,
                                      const Factor<Real>& factor, double& numerator,
                                      double& denominator) const {
    if (factor.is_uniform) {
      return;
    }
    if (call_.grad_output.is_present() && !call_.grad_output.is_scalar()) {
      numerator = load_one<double>(call_.grad_output, index);
    }
    if (call_.has_divisors_by_output()) {
      const std::int64_t output =
          call_.geometry.walk == Walk::rows ? offset / segment.length : offset % segment.outputs;
      denominator = slots_.denominators()[output].value();
    }
  }

  // Evaluates an element in float64 and rounds once.
  LOGITLOSS_OUTLINED void mend_in_float64(std::int64_t index, const Factor<Real>& factor,
                                          double numerator, double denominator, bool mends_loss,
                                          unsigned outputs, Result<Real>& result) const {
    Factor<double> wide{factor.is_uniform, numerator, denominator, {1.0, 0.0}};
    if (factor.is_uniform) {
      wide.scale = quotient_of<double>(numerator, denominator);
    }
    const Result<double> exact = evaluate_element(copy().read_weighted(index, 1.0), outputs, wide,
                                                  numerator, denominator, true);
    result.loss = mends_loss ? static_cast<Real>(exact.loss) : result.loss;
    result.gradient = static_cast<Real>(exact.gradient);
    result.hessian = static_cast<Real>(exact.hessian);
  }

  LOGITLOSS_OUTLINED Element<double> read_weighted(std::int64_t index, double factor) const {
    return make_element(call_, index, load_one<double>(call_.logits, index),
                        load_one<double>(call_.targets, index), factor, true);
  }

  // Whether a loss is too large to be summed as it is.
  template <unsigned outputs>
  LOGITLOSS_INLINE unsigned size_of_loss(const Result<Real>& result) const {
    if constexpr ((outputs & wants_loss) != 0) {
      return magnitude(result.loss) <= largest_summed<Real> ? 0U : unsigned{seen_large};
    } else {
      return 0;
    }
  }

  // Calls visit(first, count) for the tiles of a segment.
  template <class Visit>
  LOGITLOSS_INLINE void for_each_tile(const Segment& segment, Visit visit) {
    const std::int64_t step = step_of_tiles(call_.geometry, segment, capacity);
    for_each_run_of(call_.geometry, segment, [&](std::int64_t run, std::int64_t length) {
      for (std::int64_t done = 0; done < length; done += step) {
        visit(run + done, least(step, length - done));
      }
    });
  }

  // Calls visit(slot) for each slot, shared among the threads.
  template <class Visit>
  LOGITLOSS_INLINE void each_slot(std::int64_t count, Visit visit) {
    block_.each_thread([&](int thread) {
      for (std::int64_t k = thread; k < count; k += block_threads) {
        visit(k);
      }
    });
  }

  LOGITLOSS_INLINE void clear(const Segment& segment) {
    has_products_ = false;
    each_slot(slot_count(call_.geometry, segment), [&](std::int64_t k) {
      slots_.set(k, Sum{});
      if (k == 0) {
        shared_->seen = 0;
      }
    });
  }

  // What all threads saw of a tile; forgotten thereby.
  LOGITLOSS_INLINE unsigned take_seen() {
    const unsigned seen = shared_->seen;
    block_.wait();
    // The phase that adds the tile stands before the next one that sees anything.
    block_.one_thread([&] { shared_->seen = 0; });
    return seen;
  }

  LOGITLOSS_INLINE void add_losses(const Segment& segment, std::int64_t first, std::int64_t count) {
    const unsigned seen = take_seen();
    const bool spoils = is_unfit_for_float(seen >> 2, (seen & seen_tail) != 0);
    const bool has_terms = sums_terms();
    if ((seen & seen_bad_target) != 0 || spoils || (!has_terms && (seen & seen_large) != 0)) {
      copy().add_in_float64(segment, first, count, false);
    } else {
      has_products_ = has_products_ || has_terms;
      add_plain(segment, count, has_terms);
    }
  }

  // Adds what a tile left in shared memory: the terms of its losses, or losses.
  LOGITLOSS_INLINE void add_plain(const Segment& segment, std::int64_t count, bool has_terms) {
    if (has_terms) {
      add_tile(segment, count, [&](std::int64_t i, double& sum, double& product) {
        sum += static_cast<double>(shared_->loss[i]);
        multiply_into(product, static_cast<double>(shared_->exponential[i]));
      });
    } else {
      add_tile(segment, count, [&](std::int64_t i, double& high, double& low) {
        add_to(high, low, shared_->loss[i]);
      });
    }
  }

  // Adds element i of a tile by add(i, first, second), where `second` is a product or a low part.
  template <class Add>
  LOGITLOSS_INLINE void add_tile(const Segment& segment, std::int64_t count, Add add) {
    double* const second = has_products_ ? slots_.product() : slots_.low();
    if (call_.geometry.walk == Walk::rows) {
      add_rows(segment, second, add);
      return;
    }
    const auto slots = static_cast<int>(slot_count(call_.geometry, segment));
    each_slot(slots, [&](std::int64_t k) {
      double one = slots_.high()[k];
      double two = second[k];
      for (auto i = static_cast<int>(k); i < static_cast<int>(count); i += slots) {
        add(i, one, two);
      }
      slots_.high()[k] = one;
      second[k] = two;
    });
  }

  // Lanes of a row, and a tree over them; several rows at once.
  template <class Add>
  LOGITLOSS_INLINE void add_rows(const Segment& segment, double* second, Add add) {
    constexpr auto lanes = static_cast<int>(row_lane_count);
    constexpr int at_once = block_threads / lanes;
    for (std::int64_t begin = 0; begin < segment.outputs; begin += at_once) {
      block_.each_thread([&](int thread) {
        const std::int64_t row = begin + thread / lanes;
        double one = 0.0;
        double two = 0.0;
        for (std::int64_t i = thread % lanes; row < segment.outputs && i < segment.length;
             i += lanes) {
          add(row * segment.length + i, one, two);
        }
        shared_->lane_first[thread] = one;
        shared_->lane_second[thread] = two;
      });
      for (int half = lanes / 2; half > 0; half /= 2) {
        block_.each_thread([&](int thread) {
          if (thread % lanes < half) {
            join_lanes(thread, thread + half);
          }
        });
      }
      block_.each_thread([&](int thread) {
        const std::int64_t row = begin + thread / lanes;
        if (thread % lanes == 0 && row < segment.outputs) {
          slots_.high()[row] = shared_->lane_first[thread];
          second[row] = shared_->lane_second[thread];
        }
      });
    }
  }

  LOGITLOSS_INLINE void join_lanes(int lane, int other) const {
    double& one = shared_->lane_first[lane];
    double& two = shared_->lane_second[lane];
    if (has_products_) {
      one += shared_->lane_first[other];
      multiply_into(two, shared_->lane_second[other]);
    } else if constexpr (sizeof(Real) == sizeof(double)) {
      add_to(one, two, shared_->lane_first[other]);
      two += shared_->lane_second[other];
    } else {
      one += shared_->lane_first[other];
    }
  }

  // Sums a tile in float64 and, where that overflows too, scaled by 2^-512.
  LOGITLOSS_OUTLINED void add_in_float64(const Segment& segment, std::int64_t first,
                                         std::int64_t count, bool are_denominators) {
    const bool are_rows = call_.geometry.walk == Walk::rows;
    const std::int64_t slots = slot_count(call_.geometry, segment);
    const std::int64_t step = are_rows ? 1 : slots;
    each_slot(slots, [&](std::int64_t k) {
      const std::int64_t begin = are_rows ? k * segment.length : k;
      const std::int64_t end = are_rows ? begin + segment.length : count;
      for (std::int64_t i = begin; i < end; i += step) {
        const double term = copy().exact_term(first + i, 1.0, are_denominators);
        if (magnitude(term) <= largest_summed<double>) {
          add_to(slots_.high()[k], slots_.low()[k], term);
        } else {
          add_to(slots_.large_high()[k], slots_.large_low()[k],
                 copy().exact_term(first + i, down_scale, are_denominators));
        }
      }
    });
  }

  LOGITLOSS_OUTLINED double exact_term(std::int64_t index, double factor,
                                       bool are_denominators) const {
    if (are_denominators) {
      return denominator_term<double>(index) * factor;
    }
    const Factor<double> none{true, 1.0, 1.0, {1.0, 0.0}};
    return evaluate_element(copy().read_weighted(index, factor), wants_loss, none, 1.0, 1.0, true)
        .loss;
  }

  // What an element adds to the denominator of a mean.
  template <class Number>
  LOGITLOSS_INLINE Number denominator_term(std::int64_t index) const {
    if (call_.is_masked() && is_missing(call_, index)) {
      return Number{0};
    }
    return call_.reduction == LOGITLOSS_WEIGHTED_MEAN ? weight_of<Number>(call_.weight, index)
                                                      : Number{1};
  }

  // The denominators of the segment's outputs, where they do not follow from the shape.
  LOGITLOSS_INLINE void find_denominators(const Segment& segment) {
    if (!call_.has_summed_denominator) {
      return;
    }
    if (call_.geometry.parts > 1) {
      each_slot(segment.outputs, [&](std::int64_t k) {
        slots_.denominators()[k] = call_.total_denominators[segment.first_output + k];
      });
      return;
    }
    sum_denominators(segment);
    fold(segment);
    each_slot(segment.outputs,
              [&](std::int64_t k) { slots_.denominators()[k] = sum_of(segment, k); });
  }

  LOGITLOSS_INLINE void sum_denominators(const Segment& segment) {
    clear(segment);
    for_each_tile(segment, [&](std::int64_t first, std::int64_t count) {
      block_.each_thread([&](int thread) { read_denominators(thread, first, count); });
      const unsigned seen = take_seen();
      if ((seen & (seen_extreme_weight | seen_large)) != 0) {
        copy().add_in_float64(segment, first, count, true);
      } else {
        add_tile(segment, count, [&](std::int64_t i, double& high, double& low) {
          add_to(high, low, shared_->loss[i]);
        });
      }
    });
  }

  LOGITLOSS_INLINE void read_denominators(int thread, std::int64_t first, std::int64_t count) {
    unsigned seen = 0;
    for (int offset = thread; offset < count; offset += block_threads) {
      const std::int64_t index = first + offset;
      const Real term = denominator_term<Real>(index);
      shared_->loss[offset] = term;
      if (call_.reduction == LOGITLOSS_WEIGHTED_MEAN && call_.weight.is_present()) {
        seen |= seen_of_weight(call_.weight, index, weight_of<Real>(call_.weight, index));
      }
      seen |= magnitude(term) <= largest_summed<Real> ? 0U : unsigned{seen_large};
    }
    note(seen);
  }

  // Turns products into sums.
  LOGITLOSS_INLINE void close(const Segment& segment) {
    if (!has_products_) {
      return;
    }
    each_slot(slot_count(call_.geometry, segment), [&](std::int64_t k) {
      const double logarithm = log1p_of_product(slots_.product()[k]);
      const double whole = slots_.high()[k] + logarithm;
      if (is_finite(whole)) {
        add_to(slots_.high()[k], slots_.low()[k], logarithm);
      } else {
        add_to(slots_.large_high()[k], slots_.large_low()[k], whole);
        slots_.high()[k] = 0.0;
        slots_.low()[k] = 0.0;
      }
    });
    has_products_ = false;
  }

  // Climbs the tree over lanes [0, count), a power of two of them at most.
  LOGITLOSS_OUTLINED void fold_lanes(std::int64_t count) {
    for (std::int64_t half = static_cast<std::int64_t>(lane_count) / 2; half > 0; half /= 2) {
      each_slot(half, [&](std::int64_t k) {
        if (k + half < count) {
          Sum sum = slots_.sum(k);
          sum.add(slots_.sum(k + half));
          slots_.set(k, sum);
        }
      });
      count = least(count, half);
    }
  }

  LOGITLOSS_INLINE void fold(const Segment& segment) {
    if (call_.geometry.walk == Walk::blocks) {
      copy().fold_lanes(slot_count(call_.geometry, segment));
    }
  }

  // The sum of one output of a segment that is folded.
  LOGITLOSS_INLINE Sum sum_of(const Segment& segment, std::int64_t output) const {
    if (call_.geometry.walk != Walk::columns) {
      return slots_.sum(output);
    }
    const std::int64_t slots = slot_count(call_.geometry, segment);
    Sum total;
    for (std::int64_t k = output; k < slots; k += segment.outputs) {
      total.add(slots_.sum(k));
    }
    return total;
  }

  LOGITLOSS_OUTLINED void finish(const Segment& segment) {
    close(segment);
    if (call_.geometry.parts > 1) {
      copy().put_parts(segment, call_.losses);
      return;
    }
    fold(segment);
    each_slot(segment.outputs, [&](std::int64_t k) {
      copy().put_value(segment.first_output + k, sum_of(segment, k),
                       call_.has_summed_denominator ? slots_.denominators()[k] : fixed_sum());
    });
  }

  LOGITLOSS_OUTLINED void put_parts(const Segment& segment, Sum* parts) {
    fold(segment);
    each_slot(segment.outputs, [&](std::int64_t k) {
      const std::int64_t output = segment.first_output + k;
      parts[output * call_.geometry.parts + segment.part] = sum_of(segment, k);
    });
  }

  // The sum over the parts of one output, into slot 0: lanes of parts, and a tree over these.
  LOGITLOSS_OUTLINED void sum_parts(const Sum* parts, std::int64_t output) {
    constexpr auto lanes = static_cast<std::int64_t>(lane_count);
    const std::int64_t count = call_.geometry.parts;
    each_slot(lanes, [&](std::int64_t lane) {
      Sum sum;
      for (std::int64_t part = lane; part < count; part += lanes) {
        sum.add(parts[output * count + part]);
      }
      slots_.set(lane, sum);
    });
    copy().fold_lanes(lanes);
  }

  LOGITLOSS_OUTLINED void put_value(std::int64_t output, const Sum& loss, const Sum& denominator) {
    double value = loss.value();
    if (call_.reduction != LOGITLOSS_SUM) {
      value = denominator.value() == 0.0 ? __builtin_nan("") : quotient(loss, denominator);
    }
    write_to(address_of(call_.value, output), value);
  }

  const DeviceCall& call_;
  Block block_;
  Shared<Real>* shared_;
  SlotArrays slots_;
  // Whether the second part of a slot is a product.
  bool has_products_ = false;
};

}  // namespace
}  // namespace logitloss::cuda

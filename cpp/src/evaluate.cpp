#include "evaluate.h"

#include <algorithm>
#include <atomic>
#include <limits>
#include <type_traits>
#include <vector>

#include "bad_target.h"
#include "cpu/floating_point_environment.h"
#include "cpu/parallel.h"
#include "slots.h"
#include "staging.h"
#include "tile_loader.h"
#include "walk.h"

namespace logitloss {
namespace {

enum class Quantity { loss, denominator };

// What all threads of a call share.
struct Shared {
  const Call& call;
  // By output, then by part; empty where each unit owns its outputs.
  std::vector<Sum> losses;
  std::vector<Sum> denominators;
  // By output, what a first pass has summed.
  std::vector<Sum> divisors;
  // True while a first pass only sums denominators that derivatives need.
  bool is_denominator_pass = false;
  std::atomic<bool> has_bad_target{false};
  std::atomic<bool> has_undefined_mean{false};
};

// The sum over all parts of an output: lanes of parts, and a tree over these, as within a part.
Sum total_of_parts(const Call& call, const std::vector<Sum>& parts, std::int64_t output) {
  const auto first = static_cast<std::size_t>(output * call.geometry.parts);
  const auto count = static_cast<std::size_t>(call.geometry.parts);
  Sum lanes[lane_count];
  for (std::size_t part = 0; part < count; ++part) {
    lanes[part % lane_count].add(parts[first + part]);
  }
  for (std::size_t half = lane_count / 2; half > 0; half /= 2) {
    for (std::size_t lane = 0; lane < half; ++lane) {
      lanes[lane].add(lanes[lane + half]);
    }
  }
  return lanes[0];
}

double reduced_value(Shared& shared, const Sum& loss, const Sum& denominator) {
  if (shared.call.reduction == LOGITLOSS_SUM) {
    return loss.value();
  }
  if (denominator.value() == 0.0) {
    shared.has_undefined_mean.store(true, std::memory_order_relaxed);
    return std::numeric_limits<double>::quiet_NaN();
  }
  return quotient(loss, denominator);
}

void put_values(const Call& call, std::int64_t output, std::int64_t count, const double* values) {
  for_each_run(call.value, output, count,
               [&](char* data, std::ptrdiff_t stride, std::int64_t offset, std::int64_t length) {
                 for (std::int64_t k = 0; k < length; ++k) {
                   std::memcpy(data + k * stride, values + offset + k, sizeof(double));
                 }
               });
}

Sum fixed_denominator(const Call& call) {
  Sum denominator;
  denominator.high = call.fixed_denominator();
  return denominator;
}

template <class Real>
class Worker {
 public:
  explicit Worker(Shared& shared)
      : shared_(shared),
        staging_(shared.call),
        call_(staging_.call()),
        kernels_(kernels_for<Real>(*shared.call.kernels)),
        loader_(call_),
        labels_(loader_.labels()),
        sums_terms_(std::is_same_v<Real, float> && shared.call.sums_losses() &&
                    labels_ != Labels::weighted),
        values_(sums_terms_ ? wants_terms : (shared.call.value.is_present() ? wants_loss : 0U)),
        derivatives_((shared.call.gradient.is_present() ? wants_gradient : 0U) |
                     (shared.call.hessian.is_present() ? wants_hessian : 0U)),
        counts_existing_(
            shared.call.geometry.walk == Walk::blocks &&
            (shared.call.reduction == LOGITLOSS_MEAN || !shared.call.weight.is_present())) {
    find_streams();
  }

  void run_units(std::int64_t first, std::int64_t last) {
    end_of_units_ = first_element_of_unit(last);
    for (std::int64_t unit = first; unit < last; ++unit) {
      if (shared_.has_bad_target.load(std::memory_order_relaxed)) {
        return;
      }
      run_unit(unit);
    }
    staging_.flush();
  }

 private:
  static constexpr std::int64_t capacity = TileLoader<Real>::capacity;

  void run_unit(std::int64_t unit) {
    const Geometry& geometry = call_.geometry;
    if (geometry.walk != Walk::elements) {
      for_each_segment(geometry, unit, capacity,
                       [&](const Segment& segment) { run_segment(segment); });
      return;
    }
    const std::int64_t first = unit * unit_length;
    Segment all;
    all.length = std::min(unit_length, call_.size - first);
    set_divisor(call_.fixed_denominator());
    evaluate_run(first, all.length, all);
  }

  // Not for columns, whose units are no runs of elements.
  std::int64_t first_element_of_unit(std::int64_t unit) const {
    const Geometry& geometry = call_.geometry;
    if (geometry.walk == Walk::elements) {
      return std::min(unit * unit_length, call_.size);
    }
    if (geometry.parts > 1) {
      return unit / geometry.parts * geometry.reduced +
             unit % geometry.parts * geometry.part_length;
    }
    return std::min(unit * geometry.outputs_per_unit, geometry.outputs) * geometry.reduced;
  }

  // Calls visit(first, count) for the tiles of a run; each starts at slot 0.
  template <class Visit>
  void for_each_tile(std::int64_t run, std::int64_t length, const Segment& segment, Visit visit) {
    const std::int64_t step = step_of_tiles(call_.geometry, segment, capacity);
    for (std::int64_t done = 0; done < length; done += step) {
      const std::int64_t count = std::min(step, length - done);
      if (staging_.is_active()) {
        const bool is_columns = call_.geometry.walk == Walk::columns;
        staging_.require(run + done, count, is_columns ? run + length : end_of_units_);
      }
      visit(run + done, count);
      if (staging_.is_active() && !is_summing_denominators_) {
        staging_.set_written(run + done + count);
      }
    }
  }

  void run_segment(const Segment& segment) {
    const bool needs_denominators = call_.has_summed_denominator();
    const bool is_owned = call_.geometry.parts == 1;
    if (shared_.is_denominator_pass) {
      sum_denominators(segment);
      put_parts(segment, denominators_, shared_.denominators);
      return;
    }
    set_divisor(call_.fixed_denominator());
    bool has_denominators = false;
    if (needs_denominators && call_.wants_derivatives()) {
      if (is_owned) {
        sum_denominators(segment);
      }
      read_divisors(segment);
      has_denominators = true;
    }
    losses_.clear(call_.geometry, segment);
    if (needs_denominators && !has_denominators) {
      denominators_.clear(call_.geometry, segment);
    }
    sums_denominators_ = needs_denominators && !has_denominators;
    for_each_run_of(call_.geometry, segment, [&](std::int64_t first, std::int64_t count) {
      evaluate_run(first, count, segment);
    });
    finish(segment, needs_denominators);
  }

  void sum_denominators(const Segment& segment) {
    denominators_.clear(call_.geometry, segment);
    is_summing_denominators_ = true;
    for_each_run_of(call_.geometry, segment, [&](std::int64_t run, std::int64_t length) {
      for_each_tile(run, length, segment, [&](std::int64_t first, std::int64_t count) {
        add_denominators(first, count);
      });
    });
    is_summing_denominators_ = false;
  }

  void add_denominators(std::int64_t first, std::int64_t count) {
    if (counts_existing_) {
      denominators_.add_ones(loader_.count_existing(first, count));
      return;
    }
    const Real* values = loader_.load_denominators(first, count, Real{1});
    const bool are_extreme = (loader_.take_weight_sizes() & is_extreme) != 0;
    if (are_extreme || !denominators_.add(kernels_, values, count)) {
      add_in_float64(first, count, Quantity::denominator, denominators_);
    }
  }

  // The divisors of the segment's outputs, for derivatives.
  void read_divisors(const Segment& segment) {
    for (std::int64_t k = 0; k < segment.outputs; ++k) {
      const Sum denominator =
          call_.geometry.parts == 1
              ? denominators_.sum(k)
              : shared_.divisors[static_cast<std::size_t>(segment.first_output + k)];
      divisors_[k] = denominator.value();
    }
    set_divisor(divisors_[0]);
  }

  void set_divisor(double divisor) {
    divisor_ = divisor;
    const bool has_one_numerator = !call_.grad_output.is_present() || call_.grad_output.is_scalar();
    is_scale_uniform_ = has_one_numerator && !has_divisors_by_output();
    scale_ = {Real{1}, Real{0}};
    scale_sizes_ = 0;
    if (is_scale_uniform_ && call_.wants_derivatives()) {
      const double numerator = scalar_numerator();
      scale_ = kernels_.make_scale(numerator, divisor);
      scale_sizes_ = size_of_scale(numerator, divisor);
      is_scale_finite_ = is_finite_quotient(numerator, divisor);
    }
  }

  void put_parts(const Segment& segment, Slots& slots, std::vector<Sum>& parts) {
    for (std::int64_t k = 0; k < segment.outputs; ++k) {
      const std::int64_t index = (segment.first_output + k) * call_.geometry.parts + segment.part;
      parts[static_cast<std::size_t>(index)] = slots.sum(k);
    }
  }

  void evaluate_run(std::int64_t run, std::int64_t length, const Segment& segment) {
    for_each_tile(run, length, segment, [&](std::int64_t first, std::int64_t count) {
      evaluate_tile(first, count, segment);
    });
  }

  void evaluate_tile(std::int64_t first, std::int64_t count, const Segment& segment) {
    Tile<Real> tile = output_tiles(first);
    tile.length = static_cast<std::size_t>(count);
    tile.scale = scale_;
    set_streams(first + count);
    Prepared prepared = loader_.load(first, count, tile);
    const unsigned weight_sizes = loader_.take_weight_sizes();
    if (!is_scale_uniform_ && call_.wants_derivatives()) {
      load_scale(first, count, segment);
    }
    prepared.has_bad_target |=
        kernels_.evaluate[static_cast<int>(labels_)][values_ | derivatives_](tile);
    if (!is_scale_uniform_ && call_.wants_derivatives()) {
      scale_by_output(kernels_, tile, 0);
    }
    const bool spoils_losses = is_unfit_for_float(weight_sizes, tile);
    add_losses(first, count, prepared.has_bad_target || spoils_losses);
    if (spoils_losses || is_unfit_for_float(weight_sizes | scale_sizes_, tile)) {
      mend_in_float64(first, count, tile);
    }
    if (call_.is_masked() && !is_scale_finite_) {
      clear_missing(first, count, tile);
    }
    if (prepared.has_bad_target && call_.validate && !call_.is_in_place) {
      shared_.has_bad_target.store(true, std::memory_order_relaxed);
    }
    if (sums_denominators_ && counts_existing_) {
      denominators_.add_ones(prepared.existing);
    } else if (sums_denominators_) {
      add_denominators(first, count);
    }
    if (!call_.is_reduced()) {
      store(call_.value, first, count, loss_, tile.loss);
    }
    store(call_.gradient, first, count, gradient_, tile.gradient);
    store(call_.hessian, first, count, hessian_, tile.hessian);
  }

  // Whether some factor, or some factor together with a subnormal exponential, is beyond what
  // float multiplies with the error of a few roundings.
  bool is_unfit_for_float(unsigned sizes, const Tile<Real>& tile) const {
    if (!std::is_same_v<Real, float> || sizes == 0) {
      return false;
    }
    return (sizes & is_extreme) != 0 || kernels_.holds_tail(tile.logits, tile.length);
  }

  void add_losses(std::int64_t first, std::int64_t count, bool needs_float64) {
    if (!call_.sums_losses()) {
      return;
    }
    if constexpr (std::is_same_v<Real, float>) {
      if (sums_terms_ && !needs_float64) {
        losses_.add_terms(kernels_, loss_, exponential_, count);
        return;
      }
    }
    if (needs_float64 || !losses_.add(kernels_, loss_, count)) {
      add_in_float64(first, count, Quantity::loss, losses_);
    }
  }

  bool has_finite_scale(std::int64_t i) const {
    return is_scale_uniform_ ? is_scale_finite_
                             : is_finite_quotient(numerators_[i], divisors_of_tile_[i]);
  }

  // The gradient and hessian of a missing element are 0, also times an infinite or NaN grad_output.
  void clear_missing(std::int64_t first, std::int64_t count, const Tile<Real>& tile) {
    const std::uint8_t* exists = loader_.load_mask(first, count);
    for (Real* derivative : {tile.gradient, tile.hessian}) {
      for (std::int64_t i = 0; derivative != nullptr && i < count; ++i) {
        derivative[i] = exists[i] != 0 || has_finite_scale(i) ? derivative[i] : Real{0};
      }
    }
  }

  // The arrays that are walked from one end to the other.
  void find_streams() {
    const Operand Call::* const operands[] = {&Call::logits,   &Call::targets,    &Call::weight,
                                              &Call::where,    &Call::pos_weight, &Call::value,
                                              &Call::gradient, &Call::hessian};
    for (const Operand Call::* member : operands) {
      const Operand& operand = call_.*member;
      const bool is_value = member == &Call::value && call_.is_reduced();
      if (!staging_.is_active() && operand.is_present() && operand.is_contiguous() && !is_value) {
        streamed_[streamed_count_++] = &operand;
      }
    }
  }

  void set_streams(std::int64_t next) {
    streams_.count = next < call_.size ? streamed_count_ : 0;
    for (int k = 0; k < streams_.count; ++k) {
      const Operand& operand = *streamed_[k];
      streams_.stream[k] = {operand.data + next * operand.item_size,
                            static_cast<std::size_t>(operand.item_size)};
    }
  }

  Tile<Real> output_tiles(std::int64_t first) {
    Tile<Real> tile{};
    tile.exponential = exponential_;
    tile.exponential_low = exponential_low_;
    tile.linear = loss_;
    tile.streams = &streams_;
    if (call_.value.is_present()) {
      tile.loss = call_.is_reduced() ? loss_ : output_tile(call_.value, first, loss_);
    }
    if (call_.gradient.is_present()) {
      tile.gradient = output_tile(call_.gradient, first, gradient_);
    }
    if (call_.hessian.is_present()) {
      tile.hessian = output_tile(call_.hessian, first, hessian_);
    }
    return tile;
  }

  // Where a kernel writes: straight to the result, unless it has another type or layout, or
  // takes the place of the logits.
  Real* output_tile(const Operand& operand, std::int64_t first, Real* buffer) const {
    Real* direct = call_.is_in_place ? nullptr : direct_tile<Real>(operand, first);
    return direct != nullptr ? direct : buffer;
  }

  void store(const Operand& operand, std::int64_t first, std::int64_t count, const Real* buffer,
             const Real* written) const {
    if (!operand.is_present() || written != buffer) {
      return;
    }
    const auto store_run = kernels_.store[static_cast<int>(operand.dtype)];
    for_each_run(operand, first, count,
                 [&](char* data, std::ptrdiff_t stride, std::int64_t offset, std::int64_t length) {
                   store_run(buffer + offset, static_cast<std::size_t>(length), data, stride);
                 });
  }

  bool has_divisors_by_output() const {
    return call_.has_summed_denominator() &&
           (call_.geometry.walk == Walk::rows || call_.geometry.walk == Walk::columns);
  }

  double scalar_numerator() const {
    double numerator = 1.0;
    if (call_.grad_output.is_present()) {
      const Kernels<double>& wide = call_.kernels->float64;
      wide.load[static_cast<int>(call_.grad_output.dtype)](call_.grad_output.data, 0, 1,
                                                           &numerator);
    }
    return numerator;
  }

  void load_scale(std::int64_t first, std::int64_t count, const Segment& segment) {
    if (!call_.grad_output.is_present() || call_.grad_output.is_scalar()) {
      std::fill_n(numerators_, count, scalar_numerator());
    } else {
      const auto load_run = call_.kernels->float64.load[static_cast<int>(call_.grad_output.dtype)];
      for_each_run(
          call_.grad_output, first, count,
          [&](const char* data, std::ptrdiff_t stride, std::int64_t offset, std::int64_t length) {
            load_run(data, stride, static_cast<std::size_t>(length), numerators_ + offset);
          });
    }
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t output =
          call_.geometry.walk == Walk::rows ? i / segment.length : i % segment.outputs;
      divisors_of_tile_[i] = has_divisors_by_output() ? divisors_[output] : divisor_;
    }
    scale_sizes_ = 0;
    is_scale_finite_ = true;
    for (std::int64_t i = 0; i < count; ++i) {
      scale_sizes_ |= size_of_scale(numerators_[i], divisors_of_tile_[i]);
      is_scale_finite_ &= is_finite_quotient(numerators_[i], divisors_of_tile_[i]);
    }
  }

  template <class Element>
  void scale_by_output(const Kernels<Element>& kernels, const Tile<Element>& tile,
                       std::int64_t offset) const {
    for (Element* derivative : {tile.gradient, tile.hessian}) {
      if (derivative != nullptr) {
        kernels.scale(derivative, numerators_ + offset, divisors_of_tile_ + offset, tile.length);
      }
    }
  }

  // Evaluates a tile in float64 and rounds once, and takes the results that float would have
  // spoiled. Which those are depends on the element alone. Kept, like add_in_float64, out of the
  // plain path's stack frame.
  __attribute__((noinline)) void mend_in_float64(std::int64_t first, std::int64_t count,
                                                 const Tile<Real>& tile) {
    const Kernels<double>& wide = call_.kernels->float64;
    TileLoader<double> loader(call_);
    constexpr std::int64_t step = TileLoader<double>::capacity;
    double exponentials[2][tile_length<double>];
    double results[3][tile_length<double>];
    constexpr Streams no_streams{};
    Tile<double> part{};
    part.streams = &no_streams;
    part.exponential = exponentials[0];
    part.exponential_low = exponentials[1];
    part.loss = results[0];
    part.gradient = results[1];
    part.hessian = results[2];
    part.scale =
        is_scale_uniform_ ? wide.make_scale(scalar_numerator(), divisor_) : Scale<double>{1.0, 0.0};
    for (std::int64_t done = 0; done < count; done += step) {
      const std::int64_t length = std::min(step, count - done);
      part.length = static_cast<std::size_t>(length);
      loader.load_weighted(first + done, length, 1.0, part);
      wide.evaluate[static_cast<int>(Labels::weighted)]
                   [wants_loss | wants_gradient | wants_hessian](part);
      if (!is_scale_uniform_ && call_.wants_derivatives()) {
        scale_by_output(wide, part, done);
      }
      for (std::int64_t i = 0; i < length; ++i) {
        const unsigned weight_sizes = loader.weight_sizes(i);
        const unsigned sizes = weight_sizes | scale_size_of(done + i);
        take(results[0][i], weight_sizes, part.logits[i], tile.loss, done + i);
        take(results[1][i], sizes, part.logits[i], tile.gradient, done + i);
        take(results[2][i], sizes, part.logits[i], tile.hessian, done + i);
      }
    }
  }

  unsigned scale_size_of(std::int64_t i) const {
    return is_scale_uniform_ ? scale_sizes_ : size_of_scale(numerators_[i], divisors_of_tile_[i]);
  }

  // The test of is_unfit_for_float for one element.
  void take(double result, unsigned sizes, double logit, Real* results, std::int64_t i) const {
    const Real x = static_cast<Real>(logit);
    const bool is_unfit =
        (sizes & is_extreme) != 0 || ((sizes & amplifies) != 0 && kernels_.holds_tail(&x, 1));
    if (results != nullptr && is_unfit) {
      results[i] = static_cast<Real>(result);
    }
  }

  // Sums a tile in float64 and, where that overflows too, scaled by 2^-512. Reached only by
  // magnitudes that a plain sum refuses.
  __attribute__((noinline)) void add_in_float64(std::int64_t first, std::int64_t count,
                                                Quantity quantity, Slots& slots) const {
    const Kernels<double>& wide = call_.kernels->float64;
    TileLoader<double> loader(call_);
    double exponentials[2][tile_length<double>];
    constexpr Streams no_streams{};
    double plain[tile_length<double>];
    double scaled[tile_length<double>];
    constexpr std::int64_t step = TileLoader<double>::capacity;
    const auto load = [&](std::int64_t from, std::int64_t length, double factor, double* values) {
      if (quantity == Quantity::denominator) {
        std::copy_n(loader.load_denominators(from, length, factor), length, values);
        return;
      }
      Tile<double> tile{};
      tile.length = static_cast<std::size_t>(length);
      loader.load_weighted(from, length, factor, tile);
      tile.streams = &no_streams;
      tile.exponential = exponentials[0];
      tile.exponential_low = exponentials[1];
      tile.loss = values;
      wide.evaluate[static_cast<int>(Labels::weighted)][wants_loss](tile);
    };
    for (std::int64_t done = 0; done < count; done += step) {
      const std::int64_t length = std::min(step, count - done);
      load(first + done, length, 1.0, plain);
      load(first + done, length, down_scale, scaled);
      for (std::int64_t i = 0; i < length; ++i) {
        slots.add_one(done + i, plain[i], scaled[i]);
      }
    }
  }

  void finish(const Segment& segment, bool needs_denominators) {
    if constexpr (std::is_same_v<Real, float>) {
      losses_.close(kernels_);
    }
    if (call_.geometry.parts > 1) {
      if (call_.sums_losses()) {
        put_parts(segment, losses_, shared_.losses);
      }
      if (sums_denominators_) {
        put_parts(segment, denominators_, shared_.denominators);
      }
      return;
    }
    if (!call_.sums_losses()) {
      return;
    }
    double values[slot_capacity];
    for (std::int64_t k = 0; k < segment.outputs; ++k) {
      const Sum denominator = needs_denominators ? denominators_.sum(k) : fixed_denominator(call_);
      values[k] = reduced_value(shared_, losses_.sum(k), denominator);
    }
    put_values(call_, segment.first_output, segment.outputs, values);
  }

  Shared& shared_;
  Staging staging_;
  const Call& call_;
  const Kernels<Real>& kernels_;
  TileLoader<Real> loader_;
  const Labels labels_;
  // Whether losses are summed by their terms, which needs no logarithm of each.
  const bool sums_terms_;
  const unsigned values_;
  const unsigned derivatives_;
  // A denominator that only counts elements comes from their preparation.
  const bool counts_existing_;
  const Operand* streamed_[8];
  Streams streams_{};
  int streamed_count_ = 0;
  bool sums_denominators_ = false;
  // True where a tile is visited for its denominators, and no result is written.
  bool is_summing_denominators_ = false;
  std::int64_t end_of_units_ = 0;
  double divisor_ = 1.0;
  bool is_scale_uniform_ = true;
  // Of the scale that all elements share, or of any of this tile.
  unsigned scale_sizes_ = 0;
  bool is_scale_finite_ = true;
  Scale<Real> scale_{};
  Slots losses_;
  Slots denominators_;
  double divisors_[slot_capacity];
  alignas(64) Real exponential_[capacity];
  alignas(64) Real exponential_low_[capacity];
  // Losses, or their linear terms.
  alignas(64) Real loss_[capacity];
  alignas(64) Real gradient_[capacity];
  alignas(64) Real hessian_[capacity];
  alignas(64) double numerators_[capacity];
  alignas(64) double divisors_of_tile_[capacity];
};

template <class Real>
void run_range(void* context, std::int64_t first, std::int64_t last) {
  Worker<Real> worker(*static_cast<Shared*>(context));
  worker.run_units(first, last);
}

void run_all(Shared& shared) {
  const Call& call = shared.call;
  const RangeFunction function = call.computes_in_float64 ? run_range<double> : run_range<float>;
  for_each_range(call.geometry.units, call.threads, function, &shared);
}

void allocate_parts(Shared& shared) {
  const Call& call = shared.call;
  if (call.geometry.parts == 1) {
    return;
  }
  const auto count = static_cast<std::size_t>(call.geometry.outputs * call.geometry.parts);
  if (call.sums_losses()) {
    shared.losses.resize(count);
  }
  if (call.has_summed_denominator()) {
    shared.denominators.resize(count);
  }
}

// The values of outputs whose parts were summed by several units.
void put_values_of_parts(void* context, std::int64_t first, std::int64_t last) {
  Shared& shared = *static_cast<Shared*>(context);
  const Call& call = shared.call;
  for (std::int64_t output = first; output < last; ++output) {
    const Sum denominator = call.has_summed_denominator()
                                ? total_of_parts(call, shared.denominators, output)
                                : fixed_denominator(call);
    const double value =
        reduced_value(shared, total_of_parts(call, shared.losses, output), denominator);
    put_values(call, output, 1, &value);
  }
}

// The first pass of a call whose derivatives need denominators that several units sum.
void sum_divisors(Shared& shared) {
  const Call& call = shared.call;
  shared.is_denominator_pass = true;
  run_all(shared);
  shared.is_denominator_pass = false;
  shared.divisors.reserve(static_cast<std::size_t>(call.geometry.outputs));
  for (std::int64_t output = 0; output < call.geometry.outputs; ++output) {
    shared.divisors.push_back(total_of_parts(call, shared.denominators, output));
  }
}

// Every output of a call without elements is a sum or mean of nothing.
void put_empty_values(Shared& shared) {
  const Call& call = shared.call;
  if (!call.sums_losses()) {
    return;
  }
  for (std::int64_t output = 0; output < call.geometry.outputs; ++output) {
    const double value = reduced_value(shared, Sum{}, Sum{});
    put_values(call, output, 1, &value);
  }
}

}  // namespace

Outcome evaluate(const Call& call) {
  const FloatingPointEnvironment environment;
  Outcome outcome;
  Shared shared{call, {}, {}, {}};
  if (call.size == 0) {
    put_empty_values(shared);
    outcome.has_undefined_mean = shared.has_undefined_mean.load();
    return outcome;
  }
  allocate_parts(shared);
  if (call.validate && call.is_in_place) {
    find_bad_target(call, outcome);
    if (outcome.bad_index >= 0) {
      return outcome;
    }
  }
  const bool is_owned = call.geometry.parts == 1;
  if (!is_owned && call.has_summed_denominator() && call.wants_derivatives()) {
    sum_divisors(shared);
  }
  run_all(shared);
  if (shared.has_bad_target.load()) {
    find_bad_target(call, outcome);
    return outcome;
  }
  if (!is_owned && call.sums_losses()) {
    for_each_range(call.geometry.outputs, 1, put_values_of_parts, &shared);
  }
  outcome.has_undefined_mean = shared.has_undefined_mean.load();
  return outcome;
}

}  // namespace logitloss

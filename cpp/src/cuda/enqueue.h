// Which programs a call takes, and in which order.
#pragma once

#include <cstdint>

#include "block_program.h"

namespace logitloss::cuda {
namespace {

// A task is a program that blocks run, each one unit of it.
template <class Real, bool with_slots>
struct Task {
  using Number = Real;
  static constexpr bool needs_slots = with_slots;
};

template <class Real, unsigned outputs>
struct PlainElements : Task<Real, false> {
  template <class Program>
  static LOGITLOSS_INLINE void run(Program& program, std::int64_t unit) {
    program.template run_plain_elements<outputs>(unit);
  }
};

template <class Real>
struct Elements : Task<Real, false> {
  template <class Program>
  static LOGITLOSS_INLINE void run(Program& program, std::int64_t unit) {
    program.run_elements(unit);
  }
};

template <class Real, unsigned outputs>
struct PlainSums : Task<Real, true> {
  template <class Program>
  static LOGITLOSS_INLINE void run(Program& program, std::int64_t unit) {
    program.template run_plain_sums<outputs>(unit);
  }
};

template <class Real>
struct Sums : Task<Real, true> {
  template <class Program>
  static LOGITLOSS_INLINE void run(Program& program, std::int64_t unit) {
    program.run_sums(unit);
  }
};

template <class Real>
struct Denominators : Task<Real, true> {
  template <class Program>
  static LOGITLOSS_INLINE void run(Program& program, std::int64_t unit) {
    program.run_denominators(unit);
  }
};

struct TotalDenominators : Task<double, true> {
  template <class Program>
  static LOGITLOSS_INLINE void run(Program& program, std::int64_t output) {
    program.run_total_denominator(output);
  }
};

struct Values : Task<double, true> {
  template <class Program>
  static LOGITLOSS_INLINE void run(Program& program, std::int64_t output) {
    program.run_value(output);
  }
};

struct EmptyValues : Task<double, false> {
  template <class Program>
  static LOGITLOSS_INLINE void run(Program& program, std::int64_t output) {
    program.run_empty_value(output);
  }
};

// Slots of the largest segment.
inline std::size_t slots_of(const Geometry& geometry) {
  Segment segment;
  segment.outputs = geometry.outputs_per_unit;
  segment.length = geometry.part_length;
  const auto needed = static_cast<std::size_t>(slot_count(geometry, segment));
  return needed > lane_count ? needed : lane_count;
}

inline unsigned outputs_of(const DeviceCall& call, unsigned losses) {
  return (call.value.is_present() ? losses : 0U) |
         (call.gradient.is_present() ? wants_gradient : 0U) |
         (call.hessian.is_present() ? wants_hessian : 0U);
}

// Launcher::run<Task>(call, blocks, slots) runs units [0, blocks) of a task after what was run
// before.
template <class Real, class Launcher>
void enqueue_elements(const DeviceCall& call, bool is_plain, Launcher& launcher) {
  constexpr auto capacity = static_cast<std::int64_t>(tile_length<Real>);
  const std::int64_t blocks = (call.size + capacity - 1) / capacity;
  switch (is_plain ? outputs_of(call, wants_loss) : 0U) {
    case wants_loss:
      return launcher.template run<PlainElements<Real, wants_loss>>(call, blocks, 0);
    case wants_gradient:
      return launcher.template run<PlainElements<Real, wants_gradient>>(call, blocks, 0);
    case wants_loss | wants_gradient:
      return launcher.template run<PlainElements<Real, wants_loss | wants_gradient>>(call, blocks,
                                                                                     0);
    case wants_gradient | wants_hessian:
      return launcher.template run<PlainElements<Real, wants_gradient | wants_hessian>>(call,
                                                                                        blocks, 0);
    default:
      return launcher.template run<Elements<Real>>(call, blocks, 0);
  }
}

template <class Real, class Launcher>
void enqueue_sums(const DeviceCall& call, bool is_plain, Launcher& launcher) {
  constexpr unsigned losses = sizeof(Real) == sizeof(float) ? wants_terms : wants_loss;
  const std::int64_t blocks = call.geometry.units;
  const std::size_t slots = slots_of(call.geometry);
  if (call.has_summed_denominator && call.geometry.parts > 1) {
    launcher.template run<Denominators<Real>>(call, blocks, slots);
    launcher.template run<TotalDenominators>(call, call.geometry.outputs, lane_count);
  }
  switch (is_plain ? outputs_of(call, losses) : 0U) {
    case losses:
      launcher.template run<PlainSums<Real, losses>>(call, blocks, slots);
      break;
    case losses | wants_gradient:
      launcher.template run<PlainSums<Real, losses | wants_gradient>>(call, blocks, slots);
      break;
    default:
      launcher.template run<Sums<Real>>(call, blocks, slots);
  }
  if (call.sums_losses() && call.geometry.parts > 1) {
    launcher.template run<Values>(call, call.geometry.outputs, lane_count);
  }
}

template <class Launcher>
void enqueue(const DeviceCall& call, bool is_plain, Launcher& launcher) {
  if (call.size == 0) {
    if (call.sums_losses() && call.geometry.outputs > 0) {
      launcher.template run<EmptyValues>(call, call.geometry.outputs, 0);
    }
    return;
  }
  const bool sums = call.geometry.walk != Walk::elements;
  if (call.computes_in_float64) {
    sums ? enqueue_sums<double>(call, is_plain, launcher)
         : enqueue_elements<double>(call, is_plain, launcher);
  } else {
    sums ? enqueue_sums<float>(call, is_plain, launcher)
         : enqueue_elements<float>(call, is_plain, launcher);
  }
}

}  // namespace
}  // namespace logitloss::cuda

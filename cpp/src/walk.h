// The walk over a call: units are divided into segments, segments into runs, runs into tiles.
// Processors share it, so that all of them sum in one order.
#pragma once

#include <cstdint>

#include "math/platform.h"
#include "plan.h"

namespace logitloss {

// What is walked between the clearing of slots and their reading: one part of one output
// (blocks), a tile of outputs (rows), or outputs side by side (columns).
struct Segment {
  std::int64_t first_output = 0;
  std::int64_t outputs = 1;
  std::int64_t part = 0;
  // Elements of each output, a part's.
  std::int64_t length = 0;
};

namespace {

// Rows that are summed at once: a tile of `capacity` elements of them.
LOGITLOSS_INLINE std::int64_t rows_of_tile(const Geometry& geometry, std::int64_t capacity) {
  return least(capacity / geometry.reduced, static_cast<std::int64_t>(slot_capacity));
}

LOGITLOSS_INLINE Segment segment_of_columns(const Geometry& geometry, std::int64_t unit) {
  const std::int64_t groups =
      (geometry.outputs + geometry.outputs_per_unit - 1) / geometry.outputs_per_unit;
  Segment segment;
  segment.part = unit / groups;
  segment.first_output = unit % groups * geometry.outputs_per_unit;
  segment.outputs = least(geometry.outputs_per_unit, geometry.outputs - segment.first_output);
  segment.length =
      least(geometry.part_length, geometry.reduced - segment.part * geometry.part_length);
  return segment;
}

LOGITLOSS_INLINE Segment segment_of_part(const Geometry& geometry, std::int64_t unit) {
  Segment segment;
  segment.first_output = unit / geometry.parts;
  segment.part = unit % geometry.parts;
  segment.length =
      least(geometry.part_length, geometry.reduced - segment.part * geometry.part_length);
  return segment;
}

// Calls visit(segment) for the segments of a unit of a walk that sums.
template <class Visit>
LOGITLOSS_INLINE void for_each_segment(const Geometry& geometry, std::int64_t unit,
                                       std::int64_t capacity, Visit visit) {
  if (geometry.walk == Walk::columns) {
    visit(segment_of_columns(geometry, unit));
    return;
  }
  if (geometry.parts > 1) {
    visit(segment_of_part(geometry, unit));
    return;
  }
  const bool are_rows = geometry.walk == Walk::rows;
  const std::int64_t at_once = are_rows ? rows_of_tile(geometry, capacity) : 1;
  const std::int64_t first = unit * geometry.outputs_per_unit;
  const std::int64_t last = least(first + geometry.outputs_per_unit, geometry.outputs);
  for (std::int64_t output = first; output < last; output += at_once) {
    Segment segment;
    segment.first_output = output;
    segment.outputs = least(at_once, last - output);
    segment.length = geometry.reduced;
    visit(segment);
  }
}

// Calls visit(first, count) for runs of elements that cover the segment; each starts at slot 0.
template <class Visit>
LOGITLOSS_INLINE void for_each_run_of(const Geometry& geometry, const Segment& segment,
                                      Visit visit) {
  if (geometry.walk != Walk::columns) {
    const std::int64_t first =
        segment.first_output * geometry.reduced + segment.part * geometry.part_length;
    visit(first, segment.outputs * segment.length);
    return;
  }
  const std::int64_t first = segment.part * geometry.part_length;
  if (segment.outputs == geometry.outputs) {
    visit(first * geometry.outputs, segment.length * geometry.outputs);
    return;
  }
  for (std::int64_t r = first; r < first + segment.length; ++r) {
    visit(r * geometry.outputs + segment.first_output, segment.outputs);
  }
}

// Elements of a whole tile; each tile of a run starts at slot 0.
LOGITLOSS_INLINE std::int64_t step_of_tiles(const Geometry& geometry, const Segment& segment,
                                            std::int64_t capacity) {
  const bool are_columns = geometry.walk == Walk::columns;
  return are_columns ? capacity - capacity % (segment.outputs * geometry.repeats) : capacity;
}

// How many slots a segment takes.
LOGITLOSS_INLINE std::int64_t slot_count(const Geometry& geometry, const Segment& segment) {
  switch (geometry.walk) {
    case Walk::rows:
      return segment.outputs;
    case Walk::columns:
      return segment.outputs * geometry.repeats;
    default:
      return least(segment.length, static_cast<std::int64_t>(lane_count));
  }
}

}  // namespace
}  // namespace logitloss

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

// How many segments a unit of a walk that sums has.
LOGITLOSS_INLINE std::int64_t segment_count(const Geometry& geometry, std::int64_t unit,
                                            std::int64_t capacity) {
  if (geometry.walk == Walk::columns || geometry.parts > 1) {
    return 1;
  }
  const std::int64_t rest = geometry.outputs - unit * geometry.outputs_per_unit;
  const std::int64_t outputs = least(geometry.outputs_per_unit, rest);
  const std::int64_t at_once =
      geometry.walk == Walk::rows ? rows_of_tile(geometry, capacity) : std::int64_t{1};
  return (outputs + at_once - 1) / at_once;
}

// Segment k of a unit.
LOGITLOSS_INLINE Segment segment_at(const Geometry& geometry, std::int64_t unit, std::int64_t k,
                                    std::int64_t capacity) {
  Segment segment;
  if (geometry.walk == Walk::columns) {
    const std::int64_t groups =
        (geometry.outputs + geometry.outputs_per_unit - 1) / geometry.outputs_per_unit;
    segment.part = unit / groups;
    segment.first_output = unit % groups * geometry.outputs_per_unit;
    segment.outputs = least(geometry.outputs_per_unit, geometry.outputs - segment.first_output);
  } else if (geometry.parts > 1) {
    segment.first_output = unit / geometry.parts;
    segment.part = unit % geometry.parts;
  } else {
    const bool are_rows = geometry.walk == Walk::rows;
    const std::int64_t at_once = are_rows ? rows_of_tile(geometry, capacity) : std::int64_t{1};
    const std::int64_t first = unit * geometry.outputs_per_unit;
    const std::int64_t last = least(first + geometry.outputs_per_unit, geometry.outputs);
    segment.first_output = first + k * at_once;
    segment.outputs = least(at_once, last - segment.first_output);
  }
  const std::int64_t begin = segment.part * geometry.part_length;
  segment.length =
      geometry.parts > 1 ? least(geometry.part_length, geometry.reduced - begin) : geometry.reduced;
  return segment;
}

// Calls visit(segment) for the segments of a unit of a walk that sums. Here and below the call
// stands in one place, since a device would have a copy of the kernel for each.
template <class Visit>
LOGITLOSS_INLINE void for_each_segment(const Geometry& geometry, std::int64_t unit,
                                       std::int64_t capacity, Visit visit) {
  const std::int64_t count = segment_count(geometry, unit, capacity);
  for (std::int64_t k = 0; k < count; ++k) {
    visit(segment_at(geometry, unit, k, capacity));
  }
}

// Calls visit(first, count) for runs of elements that cover the segment; each starts at slot 0.
template <class Visit>
LOGITLOSS_INLINE void for_each_run_of(const Geometry& geometry, const Segment& segment,
                                      Visit visit) {
  const bool are_columns = geometry.walk == Walk::columns;
  // Columns that are a part of a row lie apart in each row.
  const bool is_one = !are_columns || segment.outputs == geometry.outputs;
  const std::int64_t begin = segment.part * geometry.part_length;
  const std::int64_t first = are_columns ? begin * geometry.outputs + segment.first_output
                                         : segment.first_output * geometry.reduced + begin;
  const std::int64_t runs = is_one ? 1 : segment.length;
  const std::int64_t count = is_one ? segment.outputs * segment.length : segment.outputs;
  for (std::int64_t k = 0; k < runs; ++k) {
    visit(first + k * geometry.outputs, count);
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

// A checked call, and the fixed order in which its elements are walked and summed.
#pragma once

#include <cstdint>

#include "cpu/kernel_table.h"
#include "logitloss/logitloss.h"
#include "operand.h"

namespace logitloss {

// How elements are walked. Every choice follows from the shape, the axes and what is asked for,
// never from strides, threads or values, and neither does the order of any sum.
//
//   elements  nothing is summed; the C order of the array, in units
//   blocks    long runs of reduced elements: lanes within a block, then over blocks
//   rows      short runs of reduced elements: several outputs in one tile
//   columns   the innermost kept axis is walked within each reduced index
enum class Walk { elements, blocks, rows, columns };

// Elements in a unit of work, where the shape permits.
constexpr std::int64_t unit_length = 16384;

// Kept elements are outputs, numbered in C order; so are the reduced elements of each.
struct Geometry {
  Walk walk = Walk::elements;
  std::int64_t outputs = 1;
  std::int64_t reduced = 1;
  std::int64_t units = 0;
  // blocks and rows: outputs that one unit owns. columns: outputs side by side in a unit.
  std::int64_t outputs_per_unit = 1;
  // Reduced elements of an output that one unit sums, and into how many units that divides it.
  std::int64_t part_length = 1;
  std::int64_t parts = 1;
  // columns: how often the columns are repeated to fill a row of slots.
  std::int64_t repeats = 1;
};

struct Call {
  const KernelTable* kernels = nullptr;
  std::int64_t size = 0;
  bool computes_in_float64 = false;
  Geometry geometry;

  // Operands in the order of the walk.
  Operand logits;
  Operand targets;
  Operand weight;
  Operand pos_weight;
  Operand where;
  Operand grad_output;
  Operand gradient;
  Operand hessian;
  // One value an element for LOGITLOSS_NONE, else one an output.
  Operand value;
  // In C order, to name the first bad target.
  Operand ordered_targets;
  Operand ordered_where;

  logitloss_reduction reduction = LOGITLOSS_NONE;
  double label_smoothing = 0.0;
  double ignore_index = 0.0;
  bool has_ignore_index = false;
  bool validate = false;
  // A result takes the place of the logits, so that it is written after all reading of a tile,
  // and targets are checked beforehand.
  bool is_in_place = false;
  int threads = 1;

  bool is_masked() const { return where.is_present() || has_ignore_index; }
  bool is_reduced() const { return reduction != LOGITLOSS_NONE; }
  bool wants_derivatives() const { return gradient.is_present() || hessian.is_present(); }
  bool sums_losses() const { return is_reduced() && value.is_present(); }

  // What a reduced value is divided by where that follows from the shape.
  double fixed_denominator() const {
    const bool is_mean = reduction == LOGITLOSS_MEAN || reduction == LOGITLOSS_WEIGHTED_MEAN;
    return is_mean ? static_cast<double>(geometry.reduced) : 1.0;
  }

  // Whether what a mean divides by has to be summed, or is the number of reduced elements.
  bool has_summed_denominator() const {
    return (reduction == LOGITLOSS_MEAN && is_masked()) ||
           (reduction == LOGITLOSS_WEIGHTED_MEAN && (is_masked() || weight.is_present()));
  }
};

// Checks `request` and fills `call`. Returns null, or a sentence that says what is wrong.
const char* plan_call(const logitloss_bce_request& request, Call& call);

}  // namespace logitloss

// A planned call as a device takes it: plain data, small enough to be a kernel's argument.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "../plan.h"
#include "../sum.h"

namespace logitloss::cuda {

// Dimensions that are left of an operand when neighbouring ones are merged.
constexpr int most_dimensions = 12;

// A number, an array in the memory of the device, or nothing.
struct DeviceOperand {
  char* data;
  double number;
  Dtype dtype;
  std::int32_t item_size;
  std::int32_t ndim;
  bool is_number;
  bool is_contiguous;
  std::int64_t length[most_dimensions];
  std::int64_t stride[most_dimensions];

  LOGITLOSS_INLINE bool is_present() const { return is_number || data != nullptr; }
  LOGITLOSS_INLINE bool is_scalar() const { return is_number || (ndim == 1 && stride[0] == 0); }
};

struct DeviceCall {
  std::int64_t size;
  Geometry geometry;
  DeviceOperand logits;
  DeviceOperand targets;
  DeviceOperand weight;
  DeviceOperand pos_weight;
  DeviceOperand where;
  DeviceOperand grad_output;
  DeviceOperand value;
  DeviceOperand gradient;
  DeviceOperand hessian;
  logitloss_reduction reduction;
  double label_smoothing;
  double ignore_index;
  // What a mean divides by where that follows from the shape.
  double fixed_denominator;
  // What derivatives are multiplied by, in the two parts of a Scale of the compute type, where that
  // follows from the shape and from numbers.
  Scale<double> fixed_scale;
  bool has_ignore_index;
  bool is_in_place;
  bool computes_in_float64;
  bool has_summed_denominator;
  // By output, then by part; null where each unit owns its outputs.
  Sum* losses;
  Sum* denominators;
  // By output: the sums of `denominators` over the parts.
  Sum* total_denominators;

  LOGITLOSS_INLINE bool is_reduced() const { return reduction != LOGITLOSS_NONE; }
  LOGITLOSS_INLINE bool sums_losses() const { return is_reduced() && value.is_present(); }
  LOGITLOSS_INLINE bool wants_derivatives() const {
    return gradient.is_present() || hessian.is_present();
  }
  LOGITLOSS_INLINE bool is_masked() const { return where.is_present() || has_ignore_index; }
  LOGITLOSS_INLINE bool has_weights() const {
    return weight.is_present() || pos_weight.is_present();
  }
  LOGITLOSS_INLINE bool has_divisors_by_output() const {
    return has_summed_denominator &&
           (geometry.walk == Walk::rows || geometry.walk == Walk::columns);
  }
};

// A kernel takes 4096 bytes of arguments.
static_assert(sizeof(DeviceCall) <= 4000);
static_assert(std::is_trivially_copyable_v<DeviceCall>);

}  // namespace logitloss::cuda

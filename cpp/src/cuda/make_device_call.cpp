#include "make_device_call.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "../math/element_types.h"
#include "../walk.h"
#include "elements.h"

namespace logitloss::cuda {
namespace {

double read_number(const Operand& operand) {
  return with_type_of(operand.dtype, [&](auto type) {
    return to_real<double>(read_element<decltype(type)>(operand.data));
  });
}

// False where the operand has too many dimensions, or elements that no device could read.
bool make_operand(const Operand& operand, DeviceOperand& result) {
  result = {};
  if (!operand.is_present()) {
    return true;
  }
  if (operand.ndim > most_dimensions) {
    return false;
  }
  result.data = operand.data;
  result.dtype = operand.dtype;
  result.item_size = static_cast<std::int32_t>(operand.item_size);
  result.ndim = operand.ndim;
  result.is_contiguous = operand.is_contiguous();
  bool is_aligned = reinterpret_cast<std::uintptr_t>(operand.data) %
                        static_cast<std::uintptr_t>(operand.item_size) ==
                    0;
  for (int k = 0; k < operand.ndim; ++k) {
    result.length[k] = operand.length[k];
    result.stride[k] = operand.stride[k];
    is_aligned = is_aligned && operand.stride[k] % operand.item_size == 0;
  }
  return is_aligned;
}

// Units of a device are smaller, one segment each, so that there are enough of them; no result
// depends on that.
void divide_finely(Geometry& geometry, std::int64_t capacity) {
  if (geometry.parts > 1 || geometry.walk == Walk::columns || geometry.walk == Walk::elements) {
    return;
  }
  geometry.outputs_per_unit = geometry.walk == Walk::rows
                                  ? std::min(rows_of_tile(geometry, capacity), geometry.outputs)
                                  : 1;
  geometry.units = (geometry.outputs + geometry.outputs_per_unit - 1) / geometry.outputs_per_unit;
}

double numerator_of(const DeviceCall& call) {
  return call.grad_output.is_number ? call.grad_output.number : 1.0;
}

Scale<double> fixed_scale_of(const DeviceCall& call) {
  if (call.computes_in_float64) {
    return quotient_of<double>(numerator_of(call), call.fixed_denominator);
  }
  const auto scale = quotient_of<float>(numerator_of(call), call.fixed_denominator);
  return {static_cast<double>(scale.high), static_cast<double>(scale.low)};
}

bool has_plain_factor(const DeviceCall& call) {
  if (!call.wants_derivatives()) {
    return true;
  }
  if (call.grad_output.is_present() && !call.grad_output.is_number) {
    return false;
  }
  return call.computes_in_float64 || size_of_scale(numerator_of(call), call.fixed_denominator) == 0;
}

// Whether the arrays that have an element for each logit are contiguous.
bool are_contiguous(const DeviceCall& call) {
  const auto fits = [](const DeviceOperand& operand) {
    return !operand.is_present() || operand.is_contiguous;
  };
  return fits(call.logits) && fits(call.targets) && fits(call.gradient) && fits(call.hessian) &&
         (call.is_reduced() || fits(call.value));
}

bool is_plain(const DeviceCall& call) {
  const bool has_complements = call.targets.dtype == Dtype::float64 && !call.computes_in_float64;
  const bool reads_logits_again = call.is_in_place && call.sums_losses();
  const bool are_integers = call.logits.dtype < Dtype::float16;
  return !are_integers && are_contiguous(call) && !call.has_weights() && !call.is_masked() &&
         !has_complements && !reads_logits_again && call.label_smoothing == 0.0 &&
         has_plain_factor(call);
}

std::size_t count_parts(const DeviceCall& call) {
  return static_cast<std::size_t>(call.geometry.outputs * call.geometry.parts);
}

std::size_t count_sums(const DeviceCall& call) {
  if (call.size == 0 || call.geometry.parts == 1) {
    return 0;
  }
  std::size_t count = call.sums_losses() ? count_parts(call) : 0;
  if (call.has_summed_denominator) {
    count += count_parts(call) + static_cast<std::size_t>(call.geometry.outputs);
  }
  return count;
}

}  // namespace

const char* make_device_call(const logitloss_bce_request& request, IsHostMemory is_host_memory,
                             PreparedCall& prepared) {
  Call planned;
  if (const char* problem = plan_call(request, planned)) {
    return problem;
  }
  if (planned.validate) {
    return "validate must be 0 for device arrays: naming a bad target would wait for the device";
  }
  DeviceCall& call = prepared.call;
  call = {};
  call.size = planned.size;
  call.geometry = planned.geometry;
  call.reduction = planned.reduction;
  call.label_smoothing = planned.label_smoothing;
  call.ignore_index = planned.ignore_index;
  call.has_ignore_index = planned.has_ignore_index;
  call.is_in_place = planned.is_in_place;
  call.computes_in_float64 = planned.computes_in_float64;
  const std::pair<const Operand*, DeviceOperand*> operands[] = {
      {&planned.logits, &call.logits},   {&planned.targets, &call.targets},
      {&planned.weight, &call.weight},   {&planned.pos_weight, &call.pos_weight},
      {&planned.where, &call.where},     {&planned.grad_output, &call.grad_output},
      {&planned.value, &call.value},     {&planned.gradient, &call.gradient},
      {&planned.hessian, &call.hessian},
  };
  for (const auto& [operand, result] : operands) {
    const bool is_factor = result == &call.weight || result == &call.pos_weight ||
                           result == &call.where || result == &call.grad_output;
    if (is_factor && operand->is_present() && operand->is_scalar() &&
        is_host_memory(operand->data)) {
      *result = {};
      result->is_number = true;
      result->dtype = operand->dtype;
      result->number = read_number(*operand);
    } else if (!make_operand(*operand, *result)) {
      return "arrays on a device must be aligned to their elements and have at most 12 dimensions "
             "once neighbouring ones are merged: make them contiguous";
    }
  }
  call.has_summed_denominator = planned.has_summed_denominator();
  call.fixed_denominator = planned.fixed_denominator();
  call.fixed_scale = fixed_scale_of(call);
  if (call.size != 0) {
    divide_finely(call.geometry,
                  static_cast<std::int64_t>(call.computes_in_float64 ? tile_length<double>
                                                                     : tile_length<float>));
  }
  prepared.is_plain = is_plain(call);
  prepared.workspace_bytes = count_sums(call) * sizeof(Sum);
  return nullptr;
}

void set_workspace(void* workspace, PreparedCall& prepared) {
  DeviceCall& call = prepared.call;
  if (prepared.workspace_bytes == 0) {
    return;
  }
  Sum* next = static_cast<Sum*>(workspace);
  if (call.sums_losses()) {
    call.losses = next;
    next += count_parts(call);
  }
  if (call.has_summed_denominator) {
    call.denominators = next;
    call.total_denominators = next + count_parts(call);
  }
}

}  // namespace logitloss::cuda

#include "plan.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/dispatch.h"
#include "cpu/parallel.h"

namespace logitloss {
namespace {

// Runs of reduced elements up to this length are summed a row at a time.
constexpr std::int64_t longest_row = 512;
// Elements that make a thread worth waking.
constexpr std::int64_t elements_per_thread = 32768;
constexpr std::int64_t shortest_column_part = 512;
constexpr std::int64_t filled_slots = 128;

std::int64_t ceiling_quotient(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

bool is_floating(std::int32_t dtype) { return dtype >= LOGITLOSS_FLOAT16; }

bool is_dtype(std::int32_t dtype) { return dtype >= LOGITLOSS_BOOL && dtype <= LOGITLOSS_FLOAT64; }

const char* check_shape(const logitloss_bce_request& request) {
  if (request.ndim < 0 || request.ndim > LOGITLOSS_MAX_DIMENSIONS) {
    return "ndim must be between 0 and LOGITLOSS_MAX_DIMENSIONS";
  }
  if (request.ndim > 0 && request.shape == nullptr) {
    return "shape must not be NULL where ndim is above 0";
  }
  std::int64_t size = 1;
  for (int k = 0; k < request.ndim; ++k) {
    if (request.shape[k] < 0) {
      return "shape must not hold a negative length";
    }
    if (request.shape[k] > 0 &&
        size > std::numeric_limits<std::int64_t>::max() / 16 / request.shape[k]) {
      return "shape holds too many elements";
    }
    size *= std::max<std::int64_t>(request.shape[k], 1);
  }
  return nullptr;
}

const char* check_inputs(const logitloss_bce_request& request) {
  if (request.logits.data == nullptr || request.targets.data == nullptr) {
    return "logits and targets must not be NULL";
  }
  if (!is_dtype(request.logits.dtype) || request.logits.dtype == LOGITLOSS_BOOL) {
    return "logits must have a floating-point or integer dtype";
  }
  for (const logitloss_input* input :
       {&request.targets, &request.weight, &request.pos_weight, &request.grad_output}) {
    if (input->data != nullptr && !is_dtype(input->dtype)) {
      return "targets, weight, pos_weight and grad_output must have a dtype of logitloss_dtype";
    }
  }
  if (request.where.data != nullptr && request.where.dtype != LOGITLOSS_BOOL) {
    return "where must have dtype bool";
  }
  return nullptr;
}

const char* check_outputs(const logitloss_bce_request& request) {
  const std::int32_t result =
      is_floating(request.logits.dtype) ? request.logits.dtype : LOGITLOSS_FLOAT64;
  const std::int32_t value = request.reduction == LOGITLOSS_NONE ? result : LOGITLOSS_FLOAT64;
  if (request.value.data == nullptr && request.gradient.data == nullptr &&
      request.hessian.data == nullptr) {
    return "one of value, gradient and hessian must be asked for";
  }
  if (request.value.data != nullptr && request.value.dtype != value) {
    return "value must have dtype float64 where it is reduced, else the dtype of logits";
  }
  for (const logitloss_output* output : {&request.gradient, &request.hessian}) {
    if (output->data != nullptr && output->dtype != result) {
      return "gradient and hessian must have the dtype of logits, float64 for integers";
    }
  }
  return nullptr;
}

const char* check_options(const logitloss_bce_request& request) {
  if (!(request.label_smoothing >= 0.0 && request.label_smoothing < 1.0)) {
    return "label_smoothing must lie in [0, 1)";
  }
  if (request.reduction < LOGITLOSS_NONE || request.reduction > LOGITLOSS_WEIGHTED_MEAN) {
    return "reduction must be one of logitloss_reduction";
  }
  constexpr std::uint64_t all_axes = ~std::uint64_t{0};
  const std::uint64_t beyond = request.ndim < 64 ? all_axes << request.ndim : 0;
  if (request.reduction != LOGITLOSS_NONE && request.reduced_axes != all_axes &&
      (request.reduced_axes & beyond) != 0) {
    return "reduced_axes must not name dimensions that are not there";
  }
  if (request.num_threads < 0) {
    return "num_threads must be at least 1, or 0 for the library's setting";
  }
  return nullptr;
}

// The dimensions of a call in the order of the walk, as indices into the caller's.
struct Order {
  int ndim = 0;
  int dimension[LOGITLOSS_MAX_DIMENSIONS];
};

struct Axes {
  const logitloss_bce_request& request;

  bool is_reduced(int k) const {
    return request.reduction != LOGITLOSS_NONE && ((request.reduced_axes >> k) & 1U) != 0;
  }

  std::int64_t count(bool reduced) const {
    std::int64_t product = 1;
    for (int k = 0; k < request.ndim; ++k) {
      product *= is_reduced(k) == reduced ? request.shape[k] : 1;
    }
    return product;
  }

  // Whether the innermost dimension with more than one element is reduced.
  bool innermost_is_reduced() const {
    for (int k = request.ndim - 1; k >= 0; --k) {
      if (request.shape[k] > 1) {
        return is_reduced(k);
      }
    }
    return true;
  }

  void append(bool reduced, Order& order) const {
    for (int k = 0; k < request.ndim; ++k) {
      if (is_reduced(k) == reduced) {
        order.dimension[order.ndim++] = k;
      }
    }
  }

  Order order(Walk walk) const {
    Order result;
    if (walk == Walk::elements) {
      for (int k = 0; k < request.ndim; ++k) {
        result.dimension[result.ndim++] = k;
      }
      return result;
    }
    append(walk == Walk::columns, result);
    append(walk != Walk::columns, result);
    return result;
  }
};

Walk choose_walk(const Axes& axes, std::int64_t outputs, std::int64_t reduced, bool sums) {
  if (!sums) {
    return Walk::elements;
  }
  if (outputs == 1) {
    return Walk::blocks;
  }
  if (!axes.innermost_is_reduced()) {
    return Walk::columns;
  }
  return reduced > longest_row ? Walk::blocks : Walk::rows;
}

void divide_into_units(Geometry& geometry) {
  switch (geometry.walk) {
    case Walk::elements:
      geometry.part_length = unit_length;
      geometry.units = ceiling_quotient(geometry.outputs * geometry.reduced, unit_length);
      return;
    case Walk::blocks:
    case Walk::rows:
      geometry.part_length = std::min(geometry.reduced, unit_length);
      geometry.parts = ceiling_quotient(geometry.reduced, unit_length);
      geometry.outputs_per_unit = std::max<std::int64_t>(1, unit_length / geometry.reduced);
      geometry.units = geometry.parts > 1
                           ? geometry.outputs * geometry.parts
                           : ceiling_quotient(geometry.outputs, geometry.outputs_per_unit);
      return;
    case Walk::columns: {
      constexpr auto capacity = static_cast<std::int64_t>(slot_capacity);
      geometry.outputs_per_unit = std::min(geometry.outputs, capacity);
      const std::int64_t fit = std::max<std::int64_t>(1, filled_slots / geometry.outputs);
      geometry.repeats = std::min(fit, geometry.reduced);
      geometry.part_length =
          std::max(shortest_column_part, ceiling_quotient(unit_length, geometry.outputs_per_unit));
      geometry.parts = ceiling_quotient(geometry.reduced, geometry.part_length);
      geometry.units =
          geometry.parts * ceiling_quotient(geometry.outputs, geometry.outputs_per_unit);
      return;
    }
  }
}

// Turns arrays of the caller into operands in a given order of dimensions.
class OperandMaker {
 public:
  OperandMaker(const logitloss_bce_request& request, const Order& order) : order_(order) {
    shape_.ndim = order.ndim;
    for (int k = 0; k < order.ndim; ++k) {
      shape_.length[k] = request.shape[order.dimension[k]];
    }
    for (int k = 0; k < request.ndim; ++k) {
      lengths_[k] = request.shape[k];
    }
    ndim_ = request.ndim;
  }

  template <class Array>
  Operand operator()(const Array& array) const {
    if (array.data == nullptr) {
      return {};
    }
    const auto dtype = static_cast<Dtype>(array.dtype);
    std::ptrdiff_t contiguous[LOGITLOSS_MAX_DIMENSIONS];
    const std::ptrdiff_t* strides = array.strides;
    if (strides == nullptr) {
      std::ptrdiff_t step = item_size(dtype);
      for (int k = ndim_ - 1; k >= 0; --k) {
        contiguous[k] = step;
        step *= lengths_[k];
      }
      strides = contiguous;
    }
    std::ptrdiff_t ordered[LOGITLOSS_MAX_DIMENSIONS];
    for (int k = 0; k < order_.ndim; ++k) {
      ordered[k] = strides[order_.dimension[k]];
    }
    return make_operand(array.data, dtype, shape_, ordered);
  }

 private:
  const Order& order_;
  Shape shape_;
  int ndim_ = 0;
  std::int64_t lengths_[LOGITLOSS_MAX_DIMENSIONS];
};

// A reduced value has the kept dimensions alone.
Operand make_value(const logitloss_bce_request& request, const Axes& axes) {
  if (request.value.data == nullptr) {
    return {};
  }
  Order kept;
  axes.append(false, kept);
  if (request.value.strides != nullptr) {
    return OperandMaker(request, kept)(request.value);
  }
  Shape shape;
  std::ptrdiff_t strides[LOGITLOSS_MAX_DIMENSIONS];
  shape.ndim = kept.ndim;
  std::ptrdiff_t step = item_size(static_cast<Dtype>(request.value.dtype));
  for (int k = kept.ndim - 1; k >= 0; --k) {
    shape.length[k] = request.shape[kept.dimension[k]];
    strides[k] = step;
    step *= shape.length[k];
  }
  return make_operand(request.value.data, static_cast<Dtype>(request.value.dtype), shape, strides);
}

void plan_operands(const logitloss_bce_request& request, const Axes& axes, Call& call) {
  const Order order = axes.order(call.geometry.walk);
  const OperandMaker make(request, order);
  call.logits = make(request.logits);
  call.targets = make(request.targets);
  call.weight = make(request.weight);
  call.pos_weight = make(request.pos_weight);
  call.where = make(request.where);
  call.grad_output = make(request.grad_output);
  call.gradient = make(request.gradient);
  call.hessian = make(request.hessian);
  call.value =
      request.reduction == LOGITLOSS_NONE ? make(request.value) : make_value(request, axes);

  const Order c_order = axes.order(Walk::elements);
  const OperandMaker make_ordered(request, c_order);
  call.ordered_targets = make_ordered(request.targets);
  call.ordered_where = make_ordered(request.where);
}

int choose_threads(const logitloss_bce_request& request, std::int64_t size) {
  const std::int64_t useful = size / elements_per_thread;
  if (useful <= 1) {
    return 1;
  }
  const std::int64_t setting = get_num_threads();
  const std::int64_t cap = request.num_threads > 0 ? request.num_threads : setting;
  return static_cast<int>(std::min({cap, setting, useful}));
}

}  // namespace

const char* plan_call(const logitloss_bce_request& request, Call& call) {
  if (request.struct_size != sizeof(logitloss_bce_request)) {
    return "struct_size must be sizeof(logitloss_bce_request) of the library that is linked";
  }
  for (const auto check : {check_shape, check_inputs, check_options, check_outputs}) {
    if (const char* problem = check(request)) {
      return problem;
    }
  }
  call.kernels = &active_kernels();
  call.computes_in_float64 =
      request.logits.dtype == LOGITLOSS_FLOAT64 || !is_floating(request.logits.dtype);
  call.reduction = static_cast<logitloss_reduction>(request.reduction);
  call.label_smoothing = request.label_smoothing;
  call.ignore_index = request.ignore_index;
  call.has_ignore_index = request.has_ignore_index != 0;
  call.validate = request.validate != 0;
  call.is_in_place = request.gradient.data == request.logits.data ||
                     request.hessian.data == request.logits.data ||
                     request.value.data == request.logits.data;

  const Axes axes{request};
  Geometry& geometry = call.geometry;
  geometry.outputs = axes.count(false);
  geometry.reduced = axes.count(true);
  call.size = geometry.outputs * geometry.reduced;
  call.threads = choose_threads(request, call.size);
  if (call.size == 0) {
    call.value = make_value(request, axes);
    return nullptr;
  }
  // has_summed_denominator needs to know which operands are there.
  call.weight.data = static_cast<char*>(const_cast<void*>(request.weight.data));
  call.where.data = static_cast<char*>(const_cast<void*>(request.where.data));
  const bool sums = request.reduction != LOGITLOSS_NONE &&
                    (request.value.data != nullptr || call.has_summed_denominator());
  geometry.walk = choose_walk(axes, geometry.outputs, geometry.reduced, sums);
  divide_into_units(geometry);
  plan_operands(request, axes, call);
  return nullptr;
}

}  // namespace logitloss

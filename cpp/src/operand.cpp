#include "operand.h"

namespace logitloss {

std::ptrdiff_t item_size(Dtype dtype) {
  static constexpr std::ptrdiff_t sizes[dtype_count] = {1, 1, 1, 2, 2, 4, 4, 8, 8, 2, 2, 4, 8};
  return sizes[static_cast<int>(dtype)];
}

Operand make_operand(const void* data, Dtype dtype, const Shape& shape,
                     const std::ptrdiff_t* strides) {
  Operand operand;
  // Inputs and outputs share this type; only outputs are written through it.
  operand.data = static_cast<char*>(const_cast<void*>(data));
  operand.dtype = dtype;
  operand.item_size = item_size(dtype);
  operand.ndim = 0;
  for (int k = 0; k < shape.ndim; ++k) {
    if (shape.length[k] == 1) {
      continue;
    }
    const int outer = operand.ndim - 1;
    if (outer >= 0 && operand.stride[outer] == strides[k] * shape.length[k]) {
      operand.length[outer] *= shape.length[k];
      operand.stride[outer] = strides[k];
    } else {
      operand.length[operand.ndim] = shape.length[k];
      operand.stride[operand.ndim] = strides[k];
      ++operand.ndim;
    }
  }
  if (operand.ndim == 0) {
    operand.ndim = 1;
    operand.length[0] = 1;
    operand.stride[0] = 0;
  }
  return operand;
}

}  // namespace logitloss

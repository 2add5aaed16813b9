// A strided array, seen as a sequence of elements in one fixed order.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/kernel_table.h"
#include "logitloss/logitloss.h"

namespace logitloss {

// Lengths of the dimensions of a call, in the order in which they are walked.
struct Shape {
  int ndim = 0;
  std::int64_t length[LOGITLOSS_MAX_DIMENSIONS];
};

// An operand of a call: neighbouring dimensions that are evenly spaced are merged, so that a
// contiguous array, whatever its shape, is one run, and so is a repeated scalar.
struct Operand {
  char* data = nullptr;
  Dtype dtype = Dtype::float32;
  std::ptrdiff_t item_size = 4;
  int ndim = 1;
  // The element at `data`. Not 0 where only a part of the elements is there.
  std::int64_t first = 0;
  std::int64_t length[LOGITLOSS_MAX_DIMENSIONS];
  std::ptrdiff_t stride[LOGITLOSS_MAX_DIMENSIONS];

  // A copy has no more dimensions than there are; small calls would notice 64.
  Operand() {}
  Operand(const Operand& other) { *this = other; }
  Operand& operator=(const Operand& other) {
    data = other.data;
    dtype = other.dtype;
    item_size = other.item_size;
    ndim = other.ndim;
    first = other.first;
    for (int k = 0; k < ndim; ++k) {
      length[k] = other.length[k];
      stride[k] = other.stride[k];
    }
    return *this;
  }

  bool is_present() const { return data != nullptr; }
  bool is_scalar() const { return ndim == 1 && stride[0] == 0; }
  bool repeats_row() const { return ndim == 2 && stride[0] == 0; }
  bool is_contiguous() const { return ndim == 1 && stride[0] == item_size; }
};

std::ptrdiff_t item_size(Dtype dtype);

// `strides` are those of the dimensions of `shape`; none of these has length 0.
Operand make_operand(const void* data, Dtype dtype, const Shape& shape,
                     const std::ptrdiff_t* strides);

// Calls visit(data, stride, offset, count) for each run of elements [first, first + count).
template <class Visit>
void for_each_run(const Operand& operand, std::int64_t first, std::int64_t count, Visit visit) {
  const int last = operand.ndim - 1;
  if (last == 0) {
    visit(operand.data + (first - operand.first) * operand.stride[0], operand.stride[0],
          std::int64_t{0}, count);
    return;
  }
  std::int64_t index[LOGITLOSS_MAX_DIMENSIONS];
  std::int64_t rest = first;
  char* data = operand.data;
  for (int k = last; k >= 0; --k) {
    index[k] = k == 0 ? rest : rest % operand.length[k];
    rest /= operand.length[k];
    data += index[k] * operand.stride[k];
  }
  for (std::int64_t done = 0; done < count;) {
    const std::int64_t here = operand.length[last] - index[last];
    const std::int64_t run = here < count - done ? here : count - done;
    visit(data, operand.stride[last], done, run);
    done += run;
    data += run * operand.stride[last];
    index[last] += run;
    for (int k = last; k > 0 && index[k] == operand.length[k]; --k) {
      data += operand.stride[k - 1] - operand.length[k] * operand.stride[k];
      index[k] = 0;
      ++index[k - 1];
    }
  }
}

}  // namespace logitloss

// Elements of an operand, several at a time, as the compute type and back.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../math/element_types.h"
#include "device_call.h"

namespace logitloss::cuda {
namespace {

// A device reads at addresses that are multiples of the size; the caller has seen to that.
template <class Element>
LOGITLOSS_INLINE Element read_from(const char* source) {
#if defined(__CUDA_ARCH__)
  return *reinterpret_cast<const Element*>(source);
#else
  return read_element<Element>(source);
#endif
}

template <class Element>
LOGITLOSS_INLINE void write_to(char* target, const Element& element) {
#if defined(__CUDA_ARCH__)
  *reinterpret_cast<Element*>(target) = element;
#else
  write_element(target, element);
#endif
}

// Bytes that one instruction moves.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 1000
constexpr std::size_t widest_access = 32;
#else
constexpr std::size_t widest_access = 16;
#endif

// Elements that a thread takes side by side, so that neighbouring threads touch neighbouring bytes.
template <class Real>
constexpr int pack_length = static_cast<int>(widest_access / sizeof(Real));

// Neighbouring elements that one instruction moves, or a few where they are wider than the compute
// type.
template <class Element, int count>
struct alignas(sizeof(Element) * count < widest_access ? sizeof(Element) * count : widest_access)
    Pack {
  Element element[count];
};

// Calls visit(Element{}) with the type of which `dtype` speaks.
template <class Visit>
LOGITLOSS_INLINE auto with_type_of(Dtype dtype, Visit visit) {
  switch (dtype) {
    case Dtype::boolean:
      return visit(Boolean{});
    case Dtype::int8:
      return visit(std::int8_t{});
    case Dtype::uint8:
      return visit(std::uint8_t{});
    case Dtype::int16:
      return visit(std::int16_t{});
    case Dtype::uint16:
      return visit(std::uint16_t{});
    case Dtype::int32:
      return visit(std::int32_t{});
    case Dtype::uint32:
      return visit(std::uint32_t{});
    case Dtype::int64:
      return visit(std::int64_t{});
    case Dtype::uint64:
      return visit(std::uint64_t{});
    case Dtype::float16:
      return visit(Float16{});
    case Dtype::bfloat16:
      return visit(BFloat16{});
    case Dtype::float32:
      return visit(float{});
    default:
      return visit(double{});
  }
}

// The types of results of a compute type.
template <class Real, class Visit>
LOGITLOSS_INLINE void with_result_type_of(Dtype dtype, Visit visit) {
  if constexpr (sizeof(Real) == sizeof(double)) {
    visit(double{});
  } else if (dtype == Dtype::float16) {
    visit(Float16{});
  } else if (dtype == Dtype::bfloat16) {
    visit(BFloat16{});
  } else {
    visit(float{});
  }
}

template <class Unsigned>
LOGITLOSS_INLINE std::int64_t strided_offset(const DeviceOperand& operand, Unsigned index) {
  std::int64_t offset = 0;
  for (int k = operand.ndim - 1; k > 0; --k) {
    const auto length = static_cast<Unsigned>(operand.length[k]);
    offset += static_cast<std::int64_t>(index % length) * operand.stride[k];
    index /= length;
  }
  return offset + static_cast<std::int64_t>(index) * operand.stride[0];
}

// Where element `index` in the order of the walk stands. Division by 32 bits is several times as
// fast as by 64.
LOGITLOSS_INLINE char* address_of(const DeviceOperand& operand, std::int64_t index) {
  constexpr std::int64_t short_limit = std::int64_t{1} << 32;
  const std::int64_t offset = index < short_limit
                                  ? strided_offset(operand, static_cast<std::uint32_t>(index))
                                  : strided_offset(operand, static_cast<std::uint64_t>(index));
  return operand.data + offset;
}

template <class Real>
LOGITLOSS_OUTLINED Real load_one(const DeviceOperand& operand, std::int64_t index) {
  if (operand.is_number) {
    return static_cast<Real>(operand.number);
  }
  const char* const source = address_of(operand, index);
  return with_type_of(operand.dtype,
                      [&](auto type) { return to_real<Real>(read_from<decltype(type)>(source)); });
}

template <class Real>
LOGITLOSS_OUTLINED void store_one(const DeviceOperand& operand, std::int64_t index, Real value) {
  char* const target = address_of(operand, index);
  with_result_type_of<Real>(operand.dtype, [&](auto type) {
    write_to(target, FromReal<decltype(type), Real>::round(value));
  });
}

// Packs of a contiguous operand: the first begins at `data`, the others `step` elements apart. Of
// the elements from `data` on, `length` exist; the values of others are 0.
template <class Element, class Real, int packs, int count>
LOGITLOSS_INLINE void unpack(const char* data, int step, int length, Real (&values)[packs][count]) {
  using Elements = Pack<Element, count>;
  constexpr auto size = static_cast<int>(sizeof(Element));
  if (reinterpret_cast<std::uintptr_t>(data) % alignof(Elements) == 0 &&
      length >= (packs - 1) * step + count) {
    LOGITLOSS_UNROLLED
    for (int p = 0; p < packs; ++p) {
      const auto pack = read_from<Elements>(data + p * step * size);
      LOGITLOSS_UNROLLED
      for (int k = 0; k < count; ++k) {
        values[p][k] = to_real<Real>(pack.element[k]);
      }
    }
    return;
  }
  LOGITLOSS_UNROLLED
  for (int p = 0; p < packs; ++p) {
    LOGITLOSS_UNROLLED
    for (int k = 0; k < count; ++k) {
      const int at = p * step + k;
      values[p][k] = at < length ? to_real<Real>(read_from<Element>(data + at * size)) : Real{0};
    }
  }
}

template <class Element, class Real, int packs, int count>
LOGITLOSS_INLINE void repack(char* data, int step, int length, const Real (&values)[packs][count]) {
  using Elements = Pack<Element, count>;
  constexpr auto size = static_cast<int>(sizeof(Element));
  if (reinterpret_cast<std::uintptr_t>(data) % alignof(Elements) == 0 &&
      length >= (packs - 1) * step + count) {
    LOGITLOSS_UNROLLED
    for (int p = 0; p < packs; ++p) {
      Elements pack;
      LOGITLOSS_UNROLLED
      for (int k = 0; k < count; ++k) {
        pack.element[k] = FromReal<Element, Real>::round(values[p][k]);
      }
      write_to(data + p * step * size, pack);
    }
    return;
  }
  LOGITLOSS_UNROLLED
  for (int p = 0; p < packs; ++p) {
    LOGITLOSS_UNROLLED
    for (int k = 0; k < count; ++k) {
      const int at = p * step + k;
      if (at < length) {
        write_to(data + at * size, FromReal<Element, Real>::round(values[p][k]));
      }
    }
  }
}

template <class Real, int packs, int count>
LOGITLOSS_INLINE void load_packs(const DeviceOperand& operand, std::int64_t first, int step,
                                 int length, Real (&values)[packs][count]) {
  const char* const data = operand.data + first * operand.item_size;
  with_type_of(operand.dtype,
               [&](auto type) { unpack<decltype(type)>(data, step, length, values); });
}

// The same of an operand that has a type of results.
template <class Real, int packs, int count>
LOGITLOSS_INLINE void load_result_packs(const DeviceOperand& operand, std::int64_t first, int step,
                                        int length, Real (&values)[packs][count]) {
  const char* const data = operand.data + first * operand.item_size;
  with_result_type_of<Real>(operand.dtype,
                            [&](auto type) { unpack<decltype(type)>(data, step, length, values); });
}

template <class Real, int packs, int count>
LOGITLOSS_INLINE void store_packs(const DeviceOperand& operand, std::int64_t first, int step,
                                  int length, const Real (&values)[packs][count]) {
  char* const data = operand.data + first * operand.item_size;
  with_result_type_of<Real>(operand.dtype,
                            [&](auto type) { repack<decltype(type)>(data, step, length, values); });
}

}  // namespace
}  // namespace logitloss::cuda

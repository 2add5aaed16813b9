#include "arrays.h"

#include <pybind11/gil_safe_call_once.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <utility>

namespace bindings {
namespace {

// Type numbers of NumPy's C interface that pybind11 does not spell out.
constexpr int first_user_type = 256;

py::object& numpy() {
  PYBIND11_CONSTINIT static py::gil_safe_call_once_and_store<py::object> storage;
  return storage.call_once_and_store_result([] { return py::module_::import("numpy"); })
      .get_stored();
}

py::object& ndarray_type() {
  PYBIND11_CONSTINIT static py::gil_safe_call_once_and_store<py::object> storage;
  return storage.call_once_and_store_result([] { return numpy().attr("ndarray"); }).get_stored();
}

logitloss_dtype integer_of(std::size_t size, bool is_signed) {
  switch (size) {
    case 1:
      return is_signed ? LOGITLOSS_INT8 : LOGITLOSS_UINT8;
    case 2:
      return is_signed ? LOGITLOSS_INT16 : LOGITLOSS_UINT16;
    case 4:
      return is_signed ? LOGITLOSS_INT32 : LOGITLOSS_UINT32;
    default:
      return is_signed ? LOGITLOSS_INT64 : LOGITLOSS_UINT64;
  }
}

// ml_dtypes registers bfloat16 at run time, under a number that is known then.
bool is_bfloat16(const py::dtype& dtype) {
  static std::atomic<int> known_number{-1};
  const int number = dtype.num();
  if (number < first_user_type) {
    return false;
  }
  if (number == known_number.load(std::memory_order_relaxed)) {
    return true;
  }
  const bool is_it = dtype.attr("name").cast<std::string>() == "bfloat16";
  if (is_it) {
    known_number.store(number, std::memory_order_relaxed);
  }
  return is_it;
}

bool is_native(const py::dtype& dtype) {
  const char order = dtype.byteorder();
  constexpr std::uint16_t probe = 1;
  const bool is_little = *reinterpret_cast<const char*>(&probe) == 1;
  return order == '=' || order == '|' || order == (is_little ? '<' : '>');
}

// The addresses of the first byte and of the byte after the last.
std::pair<std::intptr_t, std::intptr_t> extent(const py::array& array) {
  std::intptr_t low = reinterpret_cast<std::intptr_t>(array.data());
  std::intptr_t high = low + array.itemsize();
  for (py::ssize_t k = 0; k < array.ndim(); ++k) {
    const py::ssize_t reach = (array.shape(k) - 1) * array.strides(k);
    (reach < 0 ? low : high) += reach;
  }
  return {low, high};
}

}  // namespace

std::string shape_text(const Dimensions& shape) {
  std::string text = "(";
  for (int k = 0; k < shape.ndim; ++k) {
    text += (k > 0 ? ", " : "") + std::to_string(shape.value[k]);
  }
  return text + (shape.ndim == 1 ? ",)" : ")");
}

std::string shape_text(const py::array& array) {
  return py::str(array.attr("shape")).cast<std::string>();
}

std::string dtype_text(const py::array& array) {
  return py::str(array.attr("dtype")).cast<std::string>();
}

std::optional<logitloss_dtype> dtype_of(const py::array& array) {
  const py::dtype dtype = array.dtype();
  if (!is_native(dtype)) {
    return std::nullopt;
  }
  const auto size = static_cast<std::size_t>(dtype.itemsize());
  switch (dtype.kind()) {
    case 'b':
      return LOGITLOSS_BOOL;
    case 'i':
      return integer_of(size, true);
    case 'u':
      return integer_of(size, false);
    case 'f':
      if (size == 2) {
        return LOGITLOSS_FLOAT16;
      }
      if (size == 4) {
        return LOGITLOSS_FLOAT32;
      }
      return size == 8 ? std::optional(LOGITLOSS_FLOAT64) : std::nullopt;
    default:
      return is_bfloat16(dtype) ? std::optional(LOGITLOSS_BFLOAT16) : std::nullopt;
  }
}

py::array as_array(py::handle object, const char* name) {
  const auto* array_type = reinterpret_cast<PyTypeObject*>(ndarray_type().ptr());
  if (Py_TYPE(object.ptr()) == array_type) {
    return py::reinterpret_borrow<py::array>(object);
  }
  if (py::isinstance(object, numpy().attr("ma").attr("MaskedArray"))) {
    throw py::type_error(std::string(name) + " is a masked array, whose mask would be lost; pass " +
                         name + ".data and where=~" + name + ".mask");
  }
  py::array array = numpy().attr("asarray")(object);
  // A list has no dtype of its own and is taken as float64, whatever its items are.
  const bool has_dtype = py::hasattr(object, "dtype") || py::hasattr(object, "__array__");
  if (!has_dtype && array.dtype().kind() == 'f' && array.itemsize() < 8) {
    return array.attr("astype")("float64");
  }
  return array;
}

std::optional<Dimensions> broadcast_strides(const py::array& array, const Dimensions& shape) {
  const int added = shape.ndim - static_cast<int>(array.ndim());
  if (added < 0) {
    return std::nullopt;
  }
  Dimensions strides;
  strides.ndim = shape.ndim;
  std::fill_n(strides.value, added, std::int64_t{0});
  for (int k = added; k < shape.ndim; ++k) {
    const py::ssize_t length = array.shape(k - added);
    if (length != shape.value[k] && length != 1) {
      return std::nullopt;
    }
    strides.value[k] = length == 1 ? 0 : array.strides(k - added);
  }
  return strides;
}

py::array empty_array(const py::dtype& dtype, const Dimensions& shape) {
  return py::array(dtype, py::array::ShapeContainer(shape.value, shape.value + shape.ndim));
}

py::array empty_array_like(const py::array& model, const py::dtype& dtype) {
  if ((model.flags() & py::array::c_style) != 0) {
    Dimensions shape;
    shape.ndim = static_cast<int>(model.ndim());
    std::copy_n(model.shape(), model.ndim(), shape.value);
    return empty_array(dtype, shape);
  }
  return numpy().attr("empty_like")(model, py::arg("dtype") = dtype, py::arg("subok") = false);
}

bool share_memory(const py::array& a, const py::array& b) {
  if (a.size() == 0 || b.size() == 0) {
    return false;
  }
  const auto [a_low, a_high] = extent(a);
  const auto [b_low, b_high] = extent(b);
  if (a_high <= b_low || b_high <= a_low) {
    return false;
  }
  // NumPy decides exactly, and gives up on puzzles that would take it long.
  constexpr int most_work = 100000;
  try {
    return numpy().attr("shares_memory")(a, b, most_work).cast<bool>();
  } catch (py::error_already_set& error) {
    if (!error.matches(PyExc_RuntimeError)) {
      throw;
    }
    return true;
  }
}

bool overlaps_itself(const py::array& array) {
  std::pair<std::int64_t, std::int64_t> steps[LOGITLOSS_MAX_DIMENSIONS];
  int count = 0;
  for (py::ssize_t k = 0; k < array.ndim(); ++k) {
    if (array.shape(k) > 1) {
      steps[count++] = {std::abs(array.strides(k)), array.shape(k)};
    }
  }
  std::sort(steps, steps + count);
  std::int64_t reach = array.itemsize();
  for (int k = 0; k < count; ++k) {
    if (steps[k].first < reach) {
      return array.size() > 0;
    }
    reach += steps[k].first * (steps[k].second - 1);
  }
  return false;
}

bool have_same_dtype(const py::dtype& a, const py::dtype& b) { return a.is(b) || a.equal(b); }

bool are_identical(const py::array& a, const py::array& b) {
  if (a.data() != b.data() || a.ndim() != b.ndim() || !have_same_dtype(a.dtype(), b.dtype())) {
    return false;
  }
  for (py::ssize_t k = 0; k < a.ndim(); ++k) {
    if (a.shape(k) != b.shape(k) || (a.strides(k) != b.strides(k) && a.shape(k) > 1)) {
      return false;
    }
  }
  return true;
}

}  // namespace bindings

#include "arrays.h"

#include <pybind11/gil_safe_call_once.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <utility>

#include "numbers.h"

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

PyTypeObject* masked_array_type() {
  PYBIND11_CONSTINIT static py::gil_safe_call_once_and_store<py::object> storage;
  const py::object& type =
      storage.call_once_and_store_result([] { return numpy().attr("ma").attr("MaskedArray"); })
          .get_stored();
  return reinterpret_cast<PyTypeObject*>(type.ptr());
}

bool is_list_or_tuple(PyObject* object) {
  return PyList_Check(object) != 0 || PyTuple_Check(object) != 0;
}

// Whether the object is a masked array, or a list that holds one at most `depth` levels below.
bool has_mask(py::handle object, int depth) {
  if (!is_list_or_tuple(object.ptr())) {
    return PyObject_TypeCheck(object.ptr(), masked_array_type()) != 0;
  }
  return depth > 0 && std::any_of(object.begin(), object.end(),
                                  [&](py::handle item) { return has_mask(item, depth - 1); });
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

std::string advice_on_dtype(const py::array& array, const std::string& name) {
  const py::dtype dtype = array.dtype();
  const char kind = dtype.kind();
  const bool is_number = kind == 'i' || kind == 'u' || kind == 'f';
  if (is_number && !is_native(dtype)) {
    return "; convert it with " + name + ".astype(" + name + ".dtype.newbyteorder('='))";
  }
  return kind == 'f' ? "; convert it with " + name + ".astype('float64')" : "";
}

logitloss_dtype read_dtype(const py::array& array, const std::string& name) {
  const std::optional<logitloss_dtype> dtype = dtype_of(array);
  if (!dtype) {
    throw py::type_error(name +
                         " must have a bool, integer, float16, bfloat16, float32 or float64 "
                         "dtype, in native byte order, not " +
                         dtype_text(array) + advice_on_dtype(array, name));
  }
  return *dtype;
}

void refuse_masked(py::handle object, const std::string& name) {
  if (!has_mask(object, LOGITLOSS_MAX_DIMENSIONS)) {
    return;
  }
  if (is_list_or_tuple(object.ptr())) {
    throw py::type_error(name +
                         " holds a masked array, whose mask would be lost; make one array of it "
                         "and pass the mask as where=");
  }
  throw py::type_error(name + " is a masked array, whose mask would be lost; pass " + name +
                       ".data and where=~" + name + ".mask");
}

py::array as_array(py::handle object, const std::string& name) {
  const auto* array_type = reinterpret_cast<PyTypeObject*>(ndarray_type().ptr());
  if (Py_TYPE(object.ptr()) == array_type) {
    return py::reinterpret_borrow<py::array>(object);
  }
  refuse_masked(object, name);
  py::array array = numpy().attr("asarray")(object);
  // A list is taken as float64 whatever its items are: NumPy would take their common type.
  const std::optional<logitloss_dtype> dtype = dtype_of(array);
  if (is_list_or_tuple(object.ptr()) && dtype && *dtype >= LOGITLOSS_FLOAT16) {
    return array.attr("astype")("float64", py::arg("copy") = false);
  }
  return array;
}

py::object as_factor(py::handle object, const std::string& name) {
  if (const std::optional<double> number = number_of(object.ptr(), name)) {
    return py::float_(*number);
  }
  py::array array = as_array(object, name);
  read_dtype(array, name);
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

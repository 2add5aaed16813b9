// NumPy arrays as the C interface wants them, and the checks that make that safe.
#pragma once

#include <logitloss/logitloss.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <optional>
#include <string>

namespace bindings {

namespace py = pybind11;

// Lengths or strides of an array, as many as its dimensions.
struct Dimensions {
  int ndim = 0;
  std::int64_t value[LOGITLOSS_MAX_DIMENSIONS];
};

// "(3, 4)", as Python writes a shape.
std::string shape_text(const py::array& array);
std::string shape_text(const Dimensions& shape);

// The library's name for a dtype; nothing for one that it does not know, or in foreign byte order.
std::optional<logitloss_dtype> dtype_of(const py::array& array);
std::string dtype_text(const py::array& array);

// The dtype of an argument that may have any of them; raises a TypeError that names the argument.
logitloss_dtype read_dtype(const py::array& array, const std::string& name);

// What the message about a dtype may propose, or nothing.
std::string advice_on_dtype(const py::array& array, const std::string& name);

// Raises a TypeError for a masked array, and for a list that holds one.
void refuse_masked(py::handle object, const std::string& name);

// An array-like as a plain array, without a copy where it has a dtype of its own. Lists, tuples and
// Python's numbers have none and become float64 if they are not integers or bools.
py::array as_array(py::handle object, const std::string& name);

// A weight as the functions read it: a float, or an array of one of the allowed dtypes.
py::object as_factor(py::handle object, const std::string& name);

// The strides that repeat `array` over `shape`; nothing where it does not broadcast to it.
std::optional<Dimensions> broadcast_strides(const py::array& array, const Dimensions& shape);

// An uninitialised array; in the memory order of `model` where that has the same shape.
py::array empty_array(const py::dtype& dtype, const Dimensions& shape);
py::array empty_array_like(const py::array& model, const py::dtype& dtype);

// Whether two arrays have an element's memory in common.
bool share_memory(const py::array& a, const py::array& b);

// Whether two elements of one array lie at the same place.
bool overlaps_itself(const py::array& array);

bool have_same_dtype(const py::dtype& a, const py::dtype& b);

// Whether both are the same elements in the same order.
bool are_identical(const py::array& a, const py::array& b);

}  // namespace bindings

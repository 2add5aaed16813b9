#include "numbers.h"

#include <string_view>

#include "arrays.h"

namespace bindings {
namespace {

// A Python object that has a float value as that value.
double to_double(PyObject* object, const std::string& name) {
  const double number = PyFloat_AsDouble(object);
  if (number != -1.0 || PyErr_Occurred() == nullptr) {
    return number;
  }
  if (PyErr_ExceptionMatches(PyExc_OverflowError) != 0) {
    PyErr_Clear();
    throw py::value_error(name + " must fit in a float64, and does not: " + repr(object));
  }
  throw py::error_already_set();
}

bool is_numpy(py::handle object) {
  return py::isinstance<py::array>(object) ||
         py::isinstance(object, py::module_::import("numpy").attr("generic"));
}

// NumPy turns bools, texts, complex numbers and arrays of one element into a float, if asked.
bool is_real(PyObject* object, const std::string& name) {
  if (PyFloat_Check(object) != 0) {
    return true;
  }
  if (PyNumber_Check(object) == 0 || PyComplex_Check(object) != 0 || PyBool_Check(object) != 0) {
    return false;
  }
  if (PyLong_Check(object) != 0 || !is_numpy(object)) {
    return true;
  }
  const py::array array = as_array(object, name);
  const char kind = array.dtype().kind();
  const bool is_number = std::string_view("iuf").find(kind) != std::string_view::npos ||
                         dtype_of(array) == LOGITLOSS_BFLOAT16;
  return is_number && array.ndim() == 0;
}

}  // namespace

std::string type_name(PyObject* object) { return Py_TYPE(object)->tp_name; }

std::string repr(PyObject* object) {
  constexpr std::size_t longest = 200;
  constexpr py::ssize_t shown = 40;
  try {
    const py::str text = py::repr(py::handle(object));
    if (py::len(text) <= longest) {
      return text.cast<std::string>();
    }
    return text[py::slice(0, shown, 1)].cast<std::string>() + "...";
  } catch (py::error_already_set& error) {
    // Python gives no text for integers of thousands of digits.
    if (!error.matches(PyExc_ValueError)) {
      throw;
    }
    return "a huge " + type_name(object);
  }
}

py::object index_of(PyObject* object) {
  // Older versions of NumPy let its bools be indices, with a warning.
  const bool is_bool = PyBool_Check(object) != 0 || type_name(object).starts_with("numpy.bool");
  if (is_bool || PyIndex_Check(object) == 0) {
    return {};
  }
  py::object index = py::reinterpret_steal<py::object>(PyNumber_Index(object));
  if (!index) {
    if (PyErr_ExceptionMatches(PyExc_TypeError) == 0) {
      throw py::error_already_set();
    }
    PyErr_Clear();
  }
  return index;
}

std::optional<double> number_of(PyObject* object, const std::string& name) {
  if (PyFloat_Check(object) == 0 && PyLong_Check(object) == 0) {
    return std::nullopt;
  }
  return to_double(object, name);
}

double read_real(PyObject* object, const std::string& name) {
  if (is_real(object, name)) {
    try {
      return to_double(object, name);
    } catch (py::error_already_set& error) {
      if (!error.matches(PyExc_TypeError)) {
        throw;
      }
    }
  }
  throw py::type_error(name + " must be a real number, not " + type_name(object));
}

double read_exact_real(PyObject* object, const std::string& name) {
  const double number = read_real(object, name);
  const py::object index = index_of(object);
  if (index && !index.equal(py::float_(number))) {
    throw py::value_error(name + " must be an integer that a float64 holds exactly, not " +
                          repr(object));
  }
  return number;
}

bool read_bool(PyObject* object, const std::string& name) {
  const bool is_bool = PyBool_Check(object) != 0 ||
                       py::isinstance(object, py::module_::import("numpy").attr("bool_"));
  if (!is_bool) {
    throw py::type_error(name + " must be a bool, not " + type_name(object));
  }
  const int truth = PyObject_IsTrue(object);
  if (truth < 0) {
    throw py::error_already_set();
  }
  return truth != 0;
}

}  // namespace bindings

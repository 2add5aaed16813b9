// Numbers as Python and NumPy pass them, and how messages name what was passed.
#pragma once

#include <pybind11/pybind11.h>

#include <optional>
#include <string>

namespace bindings {

namespace py = pybind11;

std::string type_name(PyObject* object);

// The object as Python shows it, shortened where that is long.
std::string repr(PyObject* object);

// An integer by Python's own measure, but no bool; empty where it is something else.
py::object index_of(PyObject* object);

// The value of a Python int or float; nothing for another object. `name` is the argument's.
std::optional<double> number_of(PyObject* object, const std::string& name);

// The value of any real number, of NumPy's and of Python's numeric tower too, but not of a bool.
double read_real(PyObject* object, const std::string& name);

// As read_real, and an integer must be one that a double holds.
double read_exact_real(PyObject* object, const std::string& name);

// The value of a bool, Python's or NumPy's.
bool read_bool(PyObject* object, const std::string& name);

}  // namespace bindings

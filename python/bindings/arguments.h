// The arguments of a call as Python passes them, by name.
#pragma once

#include <pybind11/pybind11.h>

namespace bindings {

namespace py = pybind11;

// Borrowed; null where the caller left one out.
struct Arguments {
  PyObject* logits = nullptr;
  PyObject* targets = nullptr;
  PyObject* weight = nullptr;
  PyObject* pos_weight = nullptr;
  PyObject* label_smoothing = nullptr;
  PyObject* where = nullptr;
  PyObject* ignore_index = nullptr;
  PyObject* reduction = nullptr;
  PyObject* axis = nullptr;
  PyObject* grad_output = nullptr;
  PyObject* out = nullptr;
  PyObject* validate = nullptr;
  PyObject* num_threads = nullptr;
};

// Sorts the arguments of a METH_FASTCALL | METH_KEYWORDS call. Raises the TypeError that a Python
// function would; `has_grad_output` tells whether that name is known.
Arguments parse_arguments(const char* function, bool has_grad_output, PyObject* const* values,
                          Py_ssize_t positional, PyObject* names);

// Interns the names, so that they are mostly compared by their addresses.
void intern_argument_names();

}  // namespace bindings

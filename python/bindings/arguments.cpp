#include "arguments.h"

#include <array>
#include <string>

#include "numbers.h"

namespace bindings {
namespace {

struct Name {
  const char* text;
  PyObject* Arguments::* member;
  // Whether None means that the option is left out.
  bool may_be_none;
  PyObject* interned = nullptr;
};

std::array<Name, 13> names{{
    {"logits", &Arguments::logits, false},
    {"targets", &Arguments::targets, false},
    {"weight", &Arguments::weight, true},
    {"pos_weight", &Arguments::pos_weight, true},
    {"label_smoothing", &Arguments::label_smoothing, false},
    {"where", &Arguments::where, true},
    {"ignore_index", &Arguments::ignore_index, true},
    {"reduction", &Arguments::reduction, false},
    {"axis", &Arguments::axis, true},
    {"grad_output", &Arguments::grad_output, true},
    {"out", &Arguments::out, true},
    {"validate", &Arguments::validate, false},
    {"num_threads", &Arguments::num_threads, true},
}};

constexpr Py_ssize_t most_positional = 2;

const Name* find_name(PyObject* keyword) {
  for (const Name& name : names) {
    if (name.interned == keyword) {
      return &name;
    }
  }
  for (const Name& name : names) {
    if (PyUnicode_CompareWithASCIIString(keyword, name.text) == 0) {
      return &name;
    }
  }
  return nullptr;
}

[[noreturn]] void raise_type_error(const char* function, const std::string& problem) {
  throw py::type_error(std::string(function) + "() " + problem);
}

}  // namespace

void intern_argument_names() {
  for (Name& name : names) {
    name.interned = PyUnicode_InternFromString(name.text);
    if (name.interned == nullptr) {
      throw py::error_already_set();
    }
  }
}

Arguments parse_arguments(const char* function, bool has_grad_output, PyObject* const* values,
                          Py_ssize_t positional, PyObject* keywords) {
  Arguments arguments;
  if (positional > most_positional) {
    raise_type_error(function, "takes 2 positional arguments (logits, targets) but " +
                                   std::to_string(positional) +
                                   " were given; pass options by keyword");
  }
  for (Py_ssize_t k = 0; k < positional; ++k) {
    arguments.*names[static_cast<std::size_t>(k)].member = values[k];
  }
  const Py_ssize_t count = keywords != nullptr ? PyTuple_GET_SIZE(keywords) : 0;
  for (Py_ssize_t k = 0; k < count; ++k) {
    PyObject* keyword = PyTuple_GET_ITEM(keywords, k);
    const Name* name = find_name(keyword);
    const bool is_known =
        name != nullptr && (has_grad_output || name->member != &Arguments::grad_output);
    if (!is_known) {
      raise_type_error(function, "got an unexpected keyword argument " + repr(keyword));
    }
    if (arguments.*name->member != nullptr) {
      raise_type_error(function,
                       std::string("got multiple values for argument '") + name->text + "'");
    }
    arguments.*name->member = values[positional + k];
  }
  for (std::size_t k = 0; k < most_positional; ++k) {
    if (arguments.*names[k].member == nullptr) {
      raise_type_error(function, std::string("missing required argument: '") + names[k].text + "'");
    }
  }
  for (const Name& name : names) {
    PyObject*& value = arguments.*name.member;
    value = name.may_be_none && value == Py_None ? nullptr : value;
  }
  return arguments;
}

}  // namespace bindings

// The functions of the Python interface.
#pragma once

#include <pybind11/pybind11.h>

namespace bindings {

// Makes the built-in function `name` of module `module`, one of bce_with_logits and its three
// companions, with the given text as its signature and documentation.
pybind11::object make_function(const std::string& name, const std::string& module,
                               const std::string& text);

}  // namespace bindings

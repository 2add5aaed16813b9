// The function that a program compiled by JAX calls on the CPU.
#pragma once

#include <pybind11/pybind11.h>

namespace bindings {

// A capsule of the handler, for jax.ffi.register_ffi_target.
//
// Operands: logits (float32 or float64), targets, and those of weight, pos_weight and where that
// the attributes announce; all of one rank, where a dimension of length 1 repeats itself along
// that of the others. Results: the value, then the gradient, then the hessian, as many as there
// are; a reduced value is in the logits' dtype, rounded once from float64. The handler neither
// takes nor needs Python's interpreter lock.
pybind11::capsule jax_ffi_handler();

}  // namespace bindings

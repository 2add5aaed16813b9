// Calls over arrays in the memory of a device.
#pragma once

#include <logitloss/logitloss.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <optional>
#include <string>

#include "arrays.h"

namespace bindings {

// "cuda", "host" for a build that runs the device's programs there, or "" for one without them.
std::string cuda_platform();

// The device of one call, as logitloss._device sees it. Arrays there are looked at through NumPy
// arrays over their memory, which nothing here reads or writes.
class Device {
 public:
  // The device of `logits`, or nothing where they do not lie on one. Raises where this build could
  // not compute there.
  static std::optional<Device> of(PyObject* logits);

  py::array view(py::handle array, const std::string& name) const;
  py::array empty(const Dimensions& shape, const py::dtype& dtype) const;

  // The array that a view was made of.
  py::object original(const py::array& view) const;

  // Enqueues the call on the current stream, with a workspace from the library of the logits.
  logitloss_status compute(const logitloss_bce_request& request, logitloss_report& report) const;

 private:
  explicit Device(py::object object) : object_(std::move(object)) {}

  py::object object_;
};

}  // namespace bindings

#include "device.h"

#if defined(LOGITLOSS_HAS_CUDA)
#include <logitloss/logitloss_cuda.h>
#endif

namespace bindings {
namespace {

// Types that are no arrays of a device, found without asking Python.
bool is_plainly_not(PyObject* object) {
  return PyFloat_CheckExact(object) != 0 || PyList_CheckExact(object) != 0 ||
         PyTuple_CheckExact(object) != 0 || PyLong_CheckExact(object) != 0 ||
         py::isinstance<py::array>(object);
}

py::module_ device_module() { return py::module_::import("logitloss._device"); }

}  // namespace

std::optional<Device> Device::of(PyObject* logits) {
  if (logits == nullptr || is_plainly_not(logits)) {
    return std::nullopt;
  }
  const py::module_ module = device_module();
  if (!module.attr("is_on_device")(py::handle(logits)).cast<bool>()) {
    return std::nullopt;
  }
  if (cuda_platform().empty()) {
    throw std::runtime_error(
        "logits lie on a GPU, and this build of logitloss has no CUDA: install it with python -m "
        "pip install -C cmake.define.LOGITLOSS_CUDA=ON, or move the arrays to the host");
  }
  return Device(module.attr("Device")(py::handle(logits)));
}

py::array Device::view(py::handle array, const std::string& name) const {
  return object_.attr("view")(array, name);
}

py::array Device::empty(const Dimensions& shape, const py::dtype& dtype) const {
  py::tuple lengths(static_cast<std::size_t>(shape.ndim));
  for (int k = 0; k < shape.ndim; ++k) {
    lengths[static_cast<std::size_t>(k)] = shape.value[k];
  }
  return object_.attr("empty")(lengths, dtype.attr("name"));
}

py::object Device::original(const py::array& view) const { return object_.attr("original")(view); }

#if defined(LOGITLOSS_HAS_CUDA)

std::string cuda_platform() { return logitloss_cuda_platform(); }

logitloss_status Device::compute(const logitloss_bce_request& request,
                                 logitloss_report& report) const {
  std::size_t bytes = 0;
  const logitloss_status status = logitloss_cuda_workspace(&request, &bytes, &report);
  if (status != LOGITLOSS_OK) {
    return status;
  }
  Dimensions shape;
  shape.ndim = 1;
  shape.value[0] = static_cast<std::int64_t>(bytes);
  // The library may give its memory to others as soon as this call returns, on the same stream: by
  // then the stream has passed the call.
  const py::array workspace = empty(shape, py::dtype::of<std::uint8_t>());
  void* const stream = reinterpret_cast<void*>(object_.attr("stream")().cast<std::uintptr_t>());
  return logitloss_cuda_bce_with_logits(&request, stream, const_cast<void*>(workspace.data()),
                                        bytes, &report);
}

#else

std::string cuda_platform() { return ""; }

logitloss_status Device::compute(const logitloss_bce_request&, logitloss_report& report) const {
  report = {};
  return LOGITLOSS_DEVICE_ERROR;
}

#endif

}  // namespace bindings

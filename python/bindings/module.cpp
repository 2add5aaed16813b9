#include <logitloss/logitloss.h>
#include <pybind11/pybind11.h>

#include "arguments.h"
#include "arrays.h"
#include "device.h"
#include "function.h"
#ifdef LOGITLOSS_JAX
#include "jax_ffi.h"
#endif

namespace py = pybind11;

namespace {

py::tuple available_isas() {
  py::list names;
  for (int k = 0; const char* name = logitloss_available_isa(k); ++k) {
    names.append(name);
  }
  return py::tuple(names);
}

bool select_isa(const std::string& name) {
  return logitloss_select_isa(name.c_str()) == LOGITLOSS_OK;
}

}  // namespace

PYBIND11_MODULE(_core, module, py::mod_gil_not_used()) {
  module.doc() = "The compiled core of logitloss. Private: use the names of logitloss itself.";
  bindings::intern_argument_names();
  module.def("make_function", &bindings::make_function, py::arg("name"), py::arg("module"),
             py::arg("text"));
  module.def("as_factor", &bindings::as_factor, py::arg("factor"), py::arg("name"));
  module.def("version", &logitloss_version);
  module.def("isa", &logitloss_isa);
  module.def("available_isas", &available_isas);
  module.def("select_isa", &select_isa, py::arg("name"));
  module.def("compiler", &logitloss_compiler);
  module.def("openmp", &logitloss_openmp);
  module.def("cuda_platform", &bindings::cuda_platform);
  module.def("get_num_threads", &logitloss_get_num_threads);
  module.def("set_num_threads", &logitloss_set_num_threads, py::arg("count"));
#ifdef LOGITLOSS_JAX
  module.def("jax_ffi_handler", &bindings::jax_ffi_handler);
#endif
}

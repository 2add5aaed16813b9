#include "function.h"

#include <logitloss/logitloss.h>

#include <array>
#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "arguments.h"
#include "arrays.h"
#include "device.h"
#include "numbers.h"
#include "words.h"

namespace bindings {
namespace {

// What a function returns, and so what its `out` may hold.
struct Outputs {
  const char* function;
  bool value;
  bool gradient;
  bool hessian;
};

constexpr std::array<Outputs, 4> functions{{
    {"bce_with_logits", true, false, false},
    {"bce_with_logits_grad", false, true, false},
    {"bce_with_logits_value_and_grad", true, true, false},
    {"bce_with_logits_grad_hess", false, true, true},
}};

// Above this size the interpreter lock is worth its release.
constexpr std::int64_t smallest_unlocked_size = 2048;

// An operand that is read: an array, or a number held here.
class Operand {
 public:
  bool is_present() const { return is_number_ || array_.has_value(); }
  const py::array& array() const { return *array_; }
  bool has_array() const { return array_.has_value(); }

  void set_number(double number, int ndim) {
    is_number_ = true;
    number_ = number;
    strides_.ndim = ndim;
    std::fill_n(strides_.value, ndim, std::int64_t{0});
  }

  void set_array(py::array array, logitloss_dtype dtype, const Dimensions& strides) {
    array_ = std::move(array);
    dtype_ = dtype;
    strides_ = strides;
  }

  logitloss_input input() const {
    if (is_number_) {
      return {&number_, strides_.value, LOGITLOSS_FLOAT64};
    }
    if (array_.has_value()) {
      return {array_->data(), strides_.value, dtype_};
    }
    return {};
  }

 private:
  bool is_number_ = false;
  double number_ = 0.0;
  std::optional<py::array> array_;
  logitloss_dtype dtype_ = LOGITLOSS_FLOAT64;
  Dimensions strides_;
};

// One call from its Python arguments to its Python result.
class Call {
 public:
  Call(const Outputs& outputs, const Arguments& arguments)
      : outputs_(outputs), arguments_(arguments), device_(Device::of(arguments.logits)) {}

  py::object run() {
    read_logits();
    read_targets();
    read_reduction();
    read_factor(arguments_.weight, "weight", weight_);
    read_factor(arguments_.pos_weight, "pos_weight", pos_weight_);
    read_where();
    read_grad_output();
    read_options();
    read_outputs();
    check_overlaps();
    make_outputs();
    compute();
    return result();
  }

 private:
  // An argument as an array, or as a view of one that lies on the device.
  py::array view(PyObject* object, const std::string& name) const {
    return device_ ? device_->view(object, name) : as_array(object, name);
  }

  void read_logits() {
    py::array array = view(arguments_.logits, "logits");
    const std::optional<logitloss_dtype> dtype = dtype_of(array);
    if (!dtype || *dtype == LOGITLOSS_BOOL) {
      throw py::type_error(
          "logits must have dtype float16, bfloat16, float32, float64 or an integer one, in "
          "native byte order, not " +
          dtype_text(array) + advice_on_logits(array));
    }
    shape_.ndim = static_cast<int>(array.ndim());
    std::copy_n(array.shape(), array.ndim(), shape_.value);
    size_ = array.size();
    const bool is_floating = *dtype >= LOGITLOSS_FLOAT16;
    result_dtype_ = is_floating ? *dtype : LOGITLOSS_FLOAT64;
    result_descriptor_ = is_floating ? array.dtype() : py::dtype::of<double>();
    const std::optional<Dimensions> strides = broadcast_strides(array, shape_);
    logits_.set_array(std::move(array), *dtype, *strides);
  }

  static std::string advice_on_logits(const py::array& array) {
    return array.dtype().kind() == 'b' ? "; are logits and targets swapped?"
                                       : advice_on_dtype(array, "logits");
  }

  void read_targets() {
    py::array array = view(arguments_.targets, "targets");
    if (array.ndim() != shape_.ndim ||
        !std::equal(array.shape(), array.shape() + array.ndim(), shape_.value)) {
      throw py::value_error("targets must have the shape of logits: logits have shape " +
                            shape_text(shape_) + ", targets have shape " + shape_text(array) +
                            "; they are never broadcast, so reshape one of them");
    }
    const logitloss_dtype dtype = read_dtype(array, "targets");
    const std::optional<Dimensions> strides = broadcast_strides(array, shape_);
    targets_.set_array(std::move(array), dtype, *strides);
  }

  void read_reduction() {
    if (arguments_.reduction != nullptr) {
      if (PyUnicode_Check(arguments_.reduction) == 0) {
        throw py::type_error("reduction must be a str, not " + type_name(arguments_.reduction));
      }
      reduction_ = parse_reduction();
    }
    if (arguments_.axis != nullptr) {
      if (reduction_ == LOGITLOSS_NONE) {
        throw py::value_error("axis=" + repr(arguments_.axis) +
                              " needs a reduction, and reduction is 'none': pass 'mean', 'sum' or "
                              "'weighted_mean', or leave axis out");
      }
      read_axis();
    } else if (reduction_ != LOGITLOSS_NONE) {
      reduced_axes_ = shape_.ndim == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << shape_.ndim) - 1;
    }
    for (int k = 0; k < shape_.ndim; ++k) {
      if (!is_reduced(k)) {
        result_shape_.value[result_shape_.ndim++] = shape_.value[k];
      }
    }
  }

  logitloss_reduction parse_reduction() const {
    for (const auto& [name, reduction] : reduction_names) {
      if (PyUnicode_CompareWithASCIIString(arguments_.reduction, name) == 0) {
        return reduction;
      }
    }
    throw py::value_error("reduction must be 'mean', 'sum', 'none' or 'weighted_mean', not " +
                          repr(arguments_.reduction));
  }

  void read_axis() {
    if (PyTuple_Check(arguments_.axis) == 0) {
      add_axis(arguments_.axis);
      return;
    }
    for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(arguments_.axis); ++k) {
      add_axis(PyTuple_GET_ITEM(arguments_.axis, k));
    }
  }

  void add_axis(PyObject* object) {
    const py::object index = index_of(object);
    if (!index) {
      throw py::type_error("axis must be None, an int or a tuple of ints, not " +
                           repr(arguments_.axis));
    }
    int overflow = 0;
    const long long axis = PyLong_AsLongLongAndOverflow(index.ptr(), &overflow);
    if (overflow != 0 || axis < -shape_.ndim || axis >= shape_.ndim) {
      throw py::value_error("axis " + repr(object) + " is out of bounds for logits of shape " +
                            shape_text(shape_));
    }
    const auto bit = std::uint64_t{1} << (axis < 0 ? axis + shape_.ndim : axis);
    if ((reduced_axes_ & bit) != 0) {
      throw py::value_error("axis " + repr(arguments_.axis) + " names a dimension twice");
    }
    reduced_axes_ |= bit;
  }

  bool is_reduced(int k) const { return ((reduced_axes_ >> k) & 1U) != 0; }

  // A number as such, without an array; false where it is something else.
  bool read_number(PyObject* object, const char* name, Operand& operand) const {
    const std::optional<double> number = number_of(object, name);
    if (number) {
      operand.set_number(*number, shape_.ndim);
    }
    return number.has_value();
  }

  void read_factor(PyObject* object, const char* name, Operand& operand) const {
    if (object == nullptr || read_number(object, name, operand)) {
      return;
    }
    py::array array = view(object, name);
    const logitloss_dtype dtype = read_dtype(array, name);
    const Dimensions strides = broadcast(array, name);
    operand.set_array(std::move(array), dtype, strides);
  }

  Dimensions broadcast(const py::array& array, const std::string& name) const {
    const std::optional<Dimensions> strides = broadcast_strides(array, shape_);
    if (strides) {
      return *strides;
    }
    throw py::value_error(name + " of shape " + shape_text(array) +
                          " cannot be broadcast to logits of shape " + shape_text(shape_) +
                          advice_on_axis(array, name));
  }

  // One-dimensional arrays are often meant for an axis that is not the last one.
  std::string advice_on_axis(const py::array& array, const std::string& name) const {
    if (array.ndim() == 1) {
      for (int k = shape_.ndim - 2; k >= 0; --k) {
        if (shape_.value[k] == array.shape(0)) {
          std::string shape = std::to_string(shape_.value[k]);
          for (int j = k + 1; j < shape_.ndim; ++j) {
            shape += ", 1";
          }
          return "; for axis " + std::to_string(k) + " pass " + name + ".reshape(" + shape + ")";
        }
      }
    }
    return "; its dimensions must be 1 or those of logits, aligned at the last axis: reshape it";
  }

  void read_where() {
    if (arguments_.where == nullptr) {
      return;
    }
    py::array array = view(arguments_.where, "where");
    if (dtype_of(array) != LOGITLOSS_BOOL) {
      throw py::type_error("where must have dtype bool, not " + dtype_text(array) +
                           "; compare explicitly, as in where=(mask != 0)");
    }
    const Dimensions strides = broadcast(array, "where");
    where_.set_array(std::move(array), LOGITLOSS_BOOL, strides);
  }

  void read_grad_output() {
    if (arguments_.grad_output == nullptr ||
        read_number(arguments_.grad_output, "grad_output", grad_output_)) {
      return;
    }
    py::array array = view(arguments_.grad_output, "grad_output");
    const logitloss_dtype dtype = read_dtype(array, "grad_output");
    Dimensions strides;
    strides.ndim = shape_.ndim;
    std::fill_n(strides.value, shape_.ndim, std::int64_t{0});
    if (array.ndim() > 0) {
      if (!has_result_shape(array)) {
        throw py::value_error("grad_output must be a scalar or have the shape of the value, " +
                              shape_text(result_shape_) + ", not " + shape_text(array));
      }
      result_strides(array, strides);
    }
    grad_output_.set_array(std::move(array), dtype, strides);
  }

  bool has_result_shape(const py::array& array) const {
    return array.ndim() == result_shape_.ndim &&
           std::equal(array.shape(), array.shape() + array.ndim(), result_shape_.value);
  }

  // Strides over the dimensions of the logits of an array that has the shape of the value.
  void result_strides(const py::array& array, Dimensions& strides) const {
    py::ssize_t kept = 0;
    strides.ndim = shape_.ndim;
    for (int k = 0; k < shape_.ndim; ++k) {
      strides.value[k] = is_reduced(k) ? 0 : array.strides(kept++);
    }
  }

  void read_options() {
    if (arguments_.label_smoothing != nullptr) {
      label_smoothing_ = read_real(arguments_.label_smoothing, "label_smoothing");
      if (!(label_smoothing_ >= 0.0 && label_smoothing_ < 1.0)) {
        throw py::value_error("label_smoothing must lie in [0, 1), not " +
                              repr(arguments_.label_smoothing));
      }
    }
    if (arguments_.ignore_index != nullptr) {
      ignore_index_ = read_exact_real(arguments_.ignore_index, "ignore_index");
    }
    if (arguments_.validate != nullptr) {
      validate_ = read_bool(arguments_.validate, "validate");
      if (validate_ && device_) {
        throw py::value_error(
            "validate=True is not for arrays on a GPU, since to name a bad target the call would "
            "wait for it: leave validate out, and compare targets with 0 and 1 beforehand");
      }
    } else {
      validate_ = !device_;
    }
    if (arguments_.num_threads != nullptr) {
      read_num_threads();
    }
  }

  void read_num_threads() {
    const py::object index = index_of(arguments_.num_threads);
    if (!index) {
      throw py::type_error("num_threads must be None or an int, not " +
                           type_name(arguments_.num_threads));
    }
    int overflow = 0;
    const long count = PyLong_AsLongAndOverflow(index.ptr(), &overflow);
    if (count < 1 && overflow <= 0) {
      throw py::value_error("num_threads must be at least 1, not " + repr(arguments_.num_threads));
    }
    constexpr long most = 1L << 20;
    num_threads_ = static_cast<int>(overflow > 0 ? most : std::min(count, most));
  }

  void read_outputs() {
    if (arguments_.out == nullptr) {
      return;
    }
    const bool is_pair = outputs_.value ? outputs_.gradient : outputs_.hessian;
    if (!is_pair) {
      (outputs_.value ? value_ : gradient_) = read_out(arguments_.out, "out", outputs_.value);
      return;
    }
    if (PyTuple_Check(arguments_.out) == 0) {
      if (outputs_.hessian) {
        throw py::type_error(
            "out must be a tuple (gradient, hessian), each an array or None, not " +
            type_name(arguments_.out));
      }
      gradient_ = read_out(arguments_.out, "out", false);
      return;
    }
    if (PyTuple_GET_SIZE(arguments_.out) != 2) {
      throw py::value_error("out must hold 2 arrays, not " +
                            std::to_string(PyTuple_GET_SIZE(arguments_.out)));
    }
    std::optional<py::array>& first = outputs_.value ? value_ : gradient_;
    std::optional<py::array>& second = outputs_.value ? gradient_ : hessian_;
    first = read_out(PyTuple_GET_ITEM(arguments_.out, 0), "out[0]", outputs_.value);
    second = read_out(PyTuple_GET_ITEM(arguments_.out, 1), "out[1]", false);
  }

  py::array view_out(PyObject* object, const std::string& name) const {
    if (device_) {
      return device_->view(object, name);
    }
    if (!py::isinstance<py::array>(object)) {
      throw py::type_error(name + " must be a numpy.ndarray, not " + type_name(object));
    }
    refuse_masked(object, name);
    // The very object is returned, so that a subclass such as numpy.memmap stays what it is.
    return py::reinterpret_borrow<py::array>(object);
  }

  std::optional<py::array> read_out(PyObject* object, const std::string& name,
                                    bool is_value) const {
    if (object == Py_None) {
      return std::nullopt;
    }
    py::array array = view_out(object, name);
    const bool is_reduced = is_value && reduction_ != LOGITLOSS_NONE;
    const py::dtype wanted = is_reduced ? py::dtype::of<double>() : result_descriptor_;
    if (!have_same_dtype(array.dtype(), wanted)) {
      throw py::value_error(name + " must have dtype " + py::str(wanted).cast<std::string>() +
                            ", not " + dtype_text(array));
    }
    const Dimensions& shape = is_reduced ? result_shape_ : shape_;
    if (array.ndim() != shape.ndim ||
        !std::equal(array.shape(), array.shape() + array.ndim(), shape.value)) {
      throw py::value_error(name + " must have shape " + shape_text(shape) + ", not " +
                            shape_text(array));
    }
    if (!array.writeable()) {
      throw py::value_error(name + " must be writeable, but it is read-only");
    }
    if (overlaps_itself(array)) {
      throw py::value_error(name +
                            " has elements that overlap in memory; pass an "
                            "array of its own, or a plain slice of one");
    }
    return array;
  }

  void check_overlaps() const {
    const std::pair<const std::optional<py::array>*, const char*> results[] = {
        {&value_, "value"}, {&gradient_, "gradient"}, {&hessian_, "hessian"}};
    for (std::size_t k = 0; k < std::size(results); ++k) {
      if (!*results[k].first) {
        continue;
      }
      check_overlap(**results[k].first, results[k].second);
      for (std::size_t j = 0; j < k; ++j) {
        if (*results[j].first && share_memory(**results[j].first, **results[k].first)) {
          throw py::value_error(std::string("the outputs for ") + results[j].second + " and " +
                                results[k].second + " overlap in memory; pass two separate arrays");
        }
      }
    }
  }

  void check_overlap(const py::array& out, const char* result) const {
    const std::pair<const Operand*, const char*> inputs[] = {
        {&logits_, "logits"},         {&targets_, "targets"}, {&weight_, "weight"},
        {&pos_weight_, "pos_weight"}, {&where_, "where"},     {&grad_output_, "grad_output"}};
    for (const auto& [input, name] : inputs) {
      if (!input->has_array() || !share_memory(out, input->array())) {
        continue;
      }
      if (input == &logits_ && are_identical(out, input->array())) {
        continue;
      }
      throw py::value_error(std::string("the output for ") + result + " overlaps in memory with " +
                            name +
                            "; only logits themselves may be overwritten, element for "
                            "element (out=logits): pass another array");
    }
  }

  void make_outputs() {
    if (outputs_.value && !value_) {
      value_ = reduction_ == LOGITLOSS_NONE ? make_output() : make_reduced_value();
    }
    if (outputs_.gradient && !gradient_) {
      gradient_ = make_output();
    }
    if (outputs_.hessian && !hessian_) {
      hessian_ = make_output();
    }
  }

  // An array with one result an element.
  py::array make_output() const {
    return device_ ? device_->empty(shape_, result_descriptor_)
                   : empty_array_like(logits_.array(), result_descriptor_);
  }

  // A full reduction on the host needs no array: its value is a Python float.
  std::optional<py::array> make_reduced_value() const {
    const py::dtype dtype = py::dtype::of<double>();
    if (device_) {
      return device_->empty(result_shape_, dtype);
    }
    return arguments_.axis == nullptr ? std::nullopt
                                      : std::optional(empty_array(dtype, result_shape_));
  }

  logitloss_output output(std::optional<py::array>& array, Dimensions& strides) const {
    if (!array) {
      return {};
    }
    strides = *broadcast_strides(*array, shape_);
    return {const_cast<void*>(array->data()), strides.value, result_dtype_};
  }

  void compute() {
    logitloss_bce_request request{};
    request.struct_size = sizeof request;
    request.ndim = shape_.ndim;
    request.shape = shape_.value;
    request.logits = logits_.input();
    request.targets = targets_.input();
    request.weight = weight_.input();
    request.pos_weight = pos_weight_.input();
    request.where = where_.input();
    request.grad_output = grad_output_.input();
    request.label_smoothing = label_smoothing_;
    request.has_ignore_index = ignore_index_.has_value() ? 1 : 0;
    request.ignore_index = ignore_index_.value_or(0.0);
    request.validate = validate_ ? 1 : 0;
    request.reduction = reduction_;
    request.reduced_axes = reduced_axes_;
    request.num_threads = num_threads_;
    Dimensions value_strides;
    Dimensions gradient_strides;
    Dimensions hessian_strides;
    if (outputs_.value && reduction_ == LOGITLOSS_NONE) {
      request.value = output(value_, value_strides);
    } else if (outputs_.value && value_) {
      result_strides(*value_, value_strides);
      request.value = {const_cast<void*>(value_->data()), value_strides.value, LOGITLOSS_FLOAT64};
    } else if (outputs_.value) {
      request.value = {&scalar_value_, nullptr, LOGITLOSS_FLOAT64};
    }
    request.gradient = output(gradient_, gradient_strides);
    request.hessian = output(hessian_, hessian_strides);
    logitloss_report report;
    const logitloss_status status = call(request, report);
    raise_for(status, report);
    if (report.undefined_mean != 0) {
      warn_of_undefined_mean();
    }
  }

  void warn_of_undefined_mean() const {
    if (PyErr_WarnEx(PyExc_RuntimeWarning, text_on_undefined_mean(), level_of_caller()) != 0) {
      throw py::error_already_set();
    }
  }

  const char* text_on_undefined_mean() const {
    if (size_ == 0 || reduction_ != LOGITLOSS_WEIGHTED_MEAN || !weight_.is_present()) {
      return "Mean of empty slice.";
    }
    return where_.is_present() || ignore_index_
               ? "Mean of empty slice, or of weights that sum to zero."
               : "Mean of weights that sum to zero.";
  }

  // A warning that comes through a method of this package belongs to the line that called that.
  static Py_ssize_t level_of_caller() {
    Py_ssize_t level = 1;
    py::object frame =
        py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(PyEval_GetFrame()));
    while (frame && !frame.is_none() && is_of_this_package(frame)) {
      frame = frame.attr("f_back");
      ++level;
    }
    return level;
  }

  static bool is_of_this_package(const py::object& frame) {
    const py::object module = frame.attr("f_globals").attr("get")("__name__");
    return py::isinstance<py::str>(module) && module.attr("startswith")("logitloss.").cast<bool>();
  }

  logitloss_status call(const logitloss_bce_request& request, logitloss_report& report) const {
    if (device_) {
      return device_->compute(request, report);
    }
    if (size_ < smallest_unlocked_size) {
      return logitloss_bce_with_logits(&request, &report);
    }
    const py::gil_scoped_release unlocked;
    return logitloss_bce_with_logits(&request, &report);
  }

  void raise_for(logitloss_status status, const logitloss_report& report) const {
    switch (status) {
      case LOGITLOSS_OK:
        return;
      case LOGITLOSS_INVALID_TARGET:
        raise_for_target(report);
      case LOGITLOSS_OUT_OF_MEMORY:
        throw std::bad_alloc();
      case LOGITLOSS_INVALID_ARGUMENT:
        throw py::value_error(report.message);
      case LOGITLOSS_DEVICE_ERROR:
        throw std::runtime_error(report.message);
    }
  }

  [[noreturn]] void raise_for_target(const logitloss_report& report) const {
    const Dimensions index = unravelled(report.bad_index, shape_);
    py::tuple key(static_cast<std::size_t>(index.ndim));
    for (int k = 0; k < index.ndim; ++k) {
      key[static_cast<std::size_t>(k)] = py::int_(index.value[k]);
    }
    const std::string value = py::str(targets_.array()[key]).cast<std::string>();
    throw py::value_error(bad_target_text(index, value));
  }

  py::object result() const {
    py::object value;
    if (outputs_.value) {
      value = value_ ? returned(*value_) : py::float_(scalar_value_);
    }
    if (!outputs_.gradient) {
      return value;
    }
    if (outputs_.value) {
      return py::make_tuple(std::move(value), returned(*gradient_));
    }
    return outputs_.hessian ? py::object(py::make_tuple(returned(*gradient_), returned(*hessian_)))
                            : returned(*gradient_);
  }

  py::object returned(const py::array& array) const {
    return device_ ? device_->original(array) : py::object(array);
  }

  const Outputs& outputs_;
  const Arguments& arguments_;
  const std::optional<Device> device_;
  Dimensions shape_;
  Dimensions result_shape_;
  std::int64_t size_ = 0;
  logitloss_dtype result_dtype_ = LOGITLOSS_FLOAT64;
  py::dtype result_descriptor_;
  Operand logits_;
  Operand targets_;
  Operand weight_;
  Operand pos_weight_;
  Operand where_;
  Operand grad_output_;
  logitloss_reduction reduction_ = LOGITLOSS_MEAN;
  std::uint64_t reduced_axes_ = 0;
  double label_smoothing_ = 0.0;
  std::optional<double> ignore_index_;
  bool validate_ = true;
  int num_threads_ = 0;
  std::optional<py::array> value_;
  std::optional<py::array> gradient_;
  std::optional<py::array> hessian_;
  double scalar_value_ = 0.0;
};

// Python may not see a C++ exception.
template <std::size_t index>
PyObject* entry(PyObject*, PyObject* const* values, Py_ssize_t positional, PyObject* keywords) {
  try {
    const Outputs& outputs = functions[index];
    const Arguments arguments =
        parse_arguments(outputs.function, outputs.gradient, values, positional, keywords);
    return Call(outputs, arguments).run().release().ptr();
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const py::builtin_exception& error) {
    error.set_error();
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

using Entry = PyObject* (*)(PyObject*, PyObject* const*, Py_ssize_t, PyObject*);
constexpr std::array<Entry, functions.size()> entries{entry<0>, entry<1>, entry<2>, entry<3>};

// A built-in function refers to its definition and texts as long as it lives.
struct Definition {
  std::string name;
  std::string text;
  PyMethodDef method;
};

}  // namespace

py::object make_function(const std::string& name, const std::string& module,
                         const std::string& text) {
  for (std::size_t k = 0; k < functions.size(); ++k) {
    if (name != functions[k].function) {
      continue;
    }
    auto definition = std::make_unique<Definition>(Definition{name, text, {}});
    definition->method = {definition->name.c_str(),
                          reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(entries[k])),
                          METH_FASTCALL | METH_KEYWORDS, definition->text.c_str()};
    py::object function = py::reinterpret_steal<py::object>(
        PyCFunction_NewEx(&definition->method, nullptr, py::str(module).ptr()));
    if (!function) {
      throw py::error_already_set();
    }
    definition.release();
    return function;
  }
  throw py::value_error("there is no compiled function " + name);
}

}  // namespace bindings

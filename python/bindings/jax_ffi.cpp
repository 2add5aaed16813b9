#include "jax_ffi.h"

#include <logitloss/logitloss.h>
#include <xla/ffi/api/ffi.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "arrays.h"
#include "words.h"

namespace py = pybind11;
namespace ffi = xla::ffi;

namespace bindings {
namespace {

// The attributes of a call, in the order in which they are registered below.
struct Options {
  bool has_weight;
  bool has_pos_weight;
  bool has_where;
  double label_smoothing;
  bool has_ignore_index;
  double ignore_index;
  std::string_view reduction;
  // Bit k: the dimension that is k before the last one is reduced over. A batch adds dimensions
  // in front, which are none of these.
  std::int64_t reduced_axes;
  bool validate;
};

}  // namespace
}  // namespace bindings

XLA_FFI_REGISTER_STRUCT_ATTR_DECODING(
    bindings::Options, StructMember<bool>("has_weight"), StructMember<bool>("has_pos_weight"),
    StructMember<bool>("has_where"), StructMember<double>("label_smoothing"),
    StructMember<bool>("has_ignore_index"), StructMember<double>("ignore_index"),
    StructMember<std::string_view>("reduction"), StructMember<std::int64_t>("reduced_axes"),
    StructMember<bool>("validate"));

namespace bindings {
namespace {

std::optional<logitloss_dtype> dtype_of(ffi::DataType type) {
  switch (type) {
    case ffi::DataType::PRED:
      return LOGITLOSS_BOOL;
    case ffi::DataType::S8:
      return LOGITLOSS_INT8;
    case ffi::DataType::U8:
      return LOGITLOSS_UINT8;
    case ffi::DataType::S16:
      return LOGITLOSS_INT16;
    case ffi::DataType::U16:
      return LOGITLOSS_UINT16;
    case ffi::DataType::S32:
      return LOGITLOSS_INT32;
    case ffi::DataType::U32:
      return LOGITLOSS_UINT32;
    case ffi::DataType::S64:
      return LOGITLOSS_INT64;
    case ffi::DataType::U64:
      return LOGITLOSS_UINT64;
    case ffi::DataType::F16:
      return LOGITLOSS_FLOAT16;
    case ffi::DataType::BF16:
      return LOGITLOSS_BFLOAT16;
    case ffi::DataType::F32:
      return LOGITLOSS_FLOAT32;
    case ffi::DataType::F64:
      return LOGITLOSS_FLOAT64;
    default:
      return std::nullopt;
  }
}

// The shortest decimal number that reads as this value.
std::string number_text(double value) {
  char text[32];
  const auto [end, error] = std::to_chars(text, text + sizeof text, value);
  return {text, end};
}

// What XLA hands over does not fit the handler: an error of the Python side of this package.
struct Mismatch {
  std::string message;
};

// One call from XLA's buffers to XLA's error.
class Call {
 public:
  Call(ffi::RemainingArgs operands, ffi::RemainingRets results, const Options& options)
      : operands_(operands), results_(results), options_(options) {}

  ffi::Error run() {
    request_.struct_size = sizeof request_;
    read_shape();
    read_operands();
    read_options();
    read_outputs();
    logitloss_report report;
    const logitloss_status status = logitloss_bce_with_logits(&request_, &report);
    if (status != LOGITLOSS_OK) {
      return error_of(status, report);
    }
    std::transform(wide_value_.begin(), wide_value_.end(), narrow_value_,
                   [](double value) { return static_cast<float>(value); });
    return ffi::Error::Success();
  }

 private:
  // Rank and lengths, which operands of length 1 have from the others.
  void read_shape() {
    const ffi::AnyBuffer::Dimensions first = operand(0).dimensions();
    if (first.size() > LOGITLOSS_MAX_DIMENSIONS) {
      throw Mismatch{"arrays have at most " + std::to_string(LOGITLOSS_MAX_DIMENSIONS) +
                     " dimensions"};
    }
    shape_.ndim = static_cast<int>(first.size());
    std::fill_n(shape_.value, shape_.ndim, std::int64_t{1});
    for (std::size_t i = 0; i < operands_.size(); ++i) {
      const ffi::AnyBuffer::Dimensions lengths = operand(i).dimensions();
      if (lengths.size() != first.size()) {
        throw Mismatch{"operands differ in their number of dimensions"};
      }
      for (std::size_t k = 0; k < lengths.size(); ++k) {
        merge_length(shape_.value[k], lengths[k]);
      }
    }
    request_.ndim = shape_.ndim;
    request_.shape = shape_.value;
  }

  static void merge_length(std::int64_t& known, std::int64_t length) {
    if (known != 1 && length != 1 && known != length) {
      throw Mismatch{"operands differ in their shapes"};
    }
    known = known == 1 ? length : known;
  }

  void read_operands() {
    const std::size_t wanted = 2U + (options_.has_weight ? 1U : 0U) +
                               (options_.has_pos_weight ? 1U : 0U) + (options_.has_where ? 1U : 0U);
    if (operands_.size() != wanted) {
      throw Mismatch{"there are " + std::to_string(operands_.size()) + " operands, not " +
                     std::to_string(wanted)};
    }
    std::size_t next = 0;
    request_.logits = input(next++, logits_strides_);
    request_.targets = input(next++, targets_strides_);
    if (options_.has_weight) {
      request_.weight = input(next++, weight_strides_);
    }
    if (options_.has_pos_weight) {
      request_.pos_weight = input(next++, pos_weight_strides_);
    }
    if (options_.has_where) {
      request_.where = input(next++, where_strides_);
    }
  }

  void read_options() {
    const auto* named =
        std::find_if(std::begin(reduction_names), std::end(reduction_names),
                     [&](const auto& known) { return options_.reduction == known.first; });
    if (named == std::end(reduction_names)) {
      throw Mismatch{"there is no reduction " + std::string(options_.reduction)};
    }
    request_.reduction = named->second;
    for (int k = 0; k < shape_.ndim; ++k) {
      if (is_reduced(k)) {
        request_.reduced_axes |= std::uint64_t{1} << k;
      }
    }
    request_.label_smoothing = options_.label_smoothing;
    request_.has_ignore_index = options_.has_ignore_index ? 1 : 0;
    request_.ignore_index = options_.ignore_index;
    request_.validate = options_.validate ? 1 : 0;
  }

  bool is_reduced(int k) const {
    return ((static_cast<std::uint64_t>(options_.reduced_axes) >> (shape_.ndim - 1 - k)) & 1U) != 0;
  }

  void read_outputs() {
    request_.value = value_output();
    if (results_.size() > 1) {
      request_.gradient = elementwise_output(1);
    }
    if (results_.size() > 2) {
      request_.hessian = elementwise_output(2);
    }
  }

  // The core writes reduced values in float64 alone.
  logitloss_output value_output() {
    if (request_.reduction == LOGITLOSS_NONE) {
      return elementwise_output(0);
    }
    Dimensions kept;
    for (int k = 0; k < shape_.ndim; ++k) {
      if (!is_reduced(k)) {
        kept.value[kept.ndim++] = shape_.value[k];
      }
    }
    const ffi::AnyBuffer buffer = result(0, kept);
    if (request_.logits.dtype == LOGITLOSS_FLOAT64) {
      set_value_strides(sizeof(double));
      return {non_null(buffer), value_strides_.value, LOGITLOSS_FLOAT64};
    }
    narrow_value_ = static_cast<float*>(buffer.untyped_data());
    wide_value_.resize(buffer.element_count());
    set_value_strides(sizeof(double));
    return {wide_value_.empty() ? &placeholder_ : wide_value_.data(), value_strides_.value,
            LOGITLOSS_FLOAT64};
  }

  void set_value_strides(std::int64_t stride) {
    value_strides_.ndim = shape_.ndim;
    for (int k = shape_.ndim - 1; k >= 0; --k) {
      value_strides_.value[k] = is_reduced(k) ? 0 : stride;
      stride *= is_reduced(k) ? 1 : shape_.value[k];
    }
  }

  logitloss_output elementwise_output(std::size_t index) {
    return {non_null(result(index, shape_)), nullptr, request_.logits.dtype};
  }

  ffi::AnyBuffer operand(std::size_t index) const { return *operands_.get<ffi::AnyBuffer>(index); }

  ffi::AnyBuffer result(std::size_t index, const Dimensions& shape) const {
    const ffi::AnyBuffer buffer = **results_.get<ffi::AnyBuffer>(index);
    const ffi::AnyBuffer::Dimensions lengths = buffer.dimensions();
    if (!std::equal(lengths.begin(), lengths.end(), shape.value, shape.value + shape.ndim)) {
      throw Mismatch{"result " + std::to_string(index) + " does not have the shape " +
                     shape_text(shape)};
    }
    if (dtype_of(buffer.element_type()) != static_cast<logitloss_dtype>(request_.logits.dtype)) {
      throw Mismatch{"result " + std::to_string(index) + " does not have the dtype of the logits"};
    }
    return buffer;
  }

  logitloss_input input(std::size_t index, Dimensions& strides) {
    const ffi::AnyBuffer buffer = operand(index);
    const std::optional<logitloss_dtype> dtype = dtype_of(buffer.element_type());
    if (!dtype) {
      throw Mismatch{"operand " + std::to_string(index) + " has a dtype that is not known"};
    }
    const ffi::AnyBuffer::Dimensions lengths = buffer.dimensions();
    auto stride = static_cast<std::int64_t>(ffi::ByteWidth(buffer.element_type()));
    strides.ndim = shape_.ndim;
    for (int k = shape_.ndim - 1; k >= 0; --k) {
      const std::int64_t length = lengths[static_cast<std::size_t>(k)];
      strides.value[k] = length == 1 ? 0 : stride;
      stride *= length;
    }
    return {non_null(buffer), strides.value, *dtype};
  }

  // XLA may give no memory to an empty array, and the core takes null for an absent one.
  void* non_null(const ffi::AnyBuffer& buffer) {
    return buffer.untyped_data() != nullptr ? buffer.untyped_data() : &placeholder_;
  }

  ffi::Error error_of(logitloss_status status, const logitloss_report& report) const {
    switch (status) {
      case LOGITLOSS_INVALID_TARGET:
        return ffi::Error::InvalidArgument(
            bad_target_text(unravelled(report.bad_index, shape_), number_text(report.bad_target)));
      case LOGITLOSS_OUT_OF_MEMORY:
        throw std::bad_alloc();
      default:
        return ffi::Error::Internal(report.message);
    }
  }

  ffi::RemainingArgs operands_;
  ffi::RemainingRets results_;
  const Options& options_;
  logitloss_bce_request request_{};
  Dimensions shape_;
  Dimensions logits_strides_;
  Dimensions targets_strides_;
  Dimensions weight_strides_;
  Dimensions pos_weight_strides_;
  Dimensions where_strides_;
  Dimensions value_strides_;
  std::vector<double> wide_value_;
  float* narrow_value_ = nullptr;
  double placeholder_ = 0.0;
};

// XLA may not see a C++ exception.
ffi::Error compute(ffi::RemainingArgs operands, ffi::RemainingRets results,
                   const Options& options) {
  try {
    return Call(operands, results, options).run();
  } catch (const Mismatch& mismatch) {
    return ffi::Error::Internal("logitloss: " + mismatch.message);
  } catch (const std::bad_alloc&) {
    return {ffi::ErrorCode::kResourceExhausted, "logitloss: out of memory"};
  }
}

}  // namespace

py::capsule jax_ffi_handler() {
  XLA_FFI_DEFINE_HANDLER(handler, compute,
                         ffi::Ffi::Bind().RemainingArgs().RemainingRets().Attrs<Options>());
  return py::capsule(reinterpret_cast<void*>(handler), "xla._CUSTOM_CALL_TARGET");
}

}  // namespace bindings

// Strides, alignment, dimensions and the choice of outputs change no bit of a result.
#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "call.h"

namespace logitloss::tests {
namespace {

struct Layout {
  std::string name;
  // Bytes between neighbours of the innermost dimension, beside their size.
  std::ptrdiff_t gap;
  // Bytes before the first element.
  std::ptrdiff_t offset;
  bool is_reversed;
  bool is_transposed;
};

const Layout layouts[] = {
    {"contiguous", 0, 0, false, false},
    {"unaligned", 0, 1, false, false},
    {"every other byte count", 3, 0, false, false},
    {"every third element", 8, 0, false, false},
    {"reversed", 0, 0, true, false},
    {"reversed with odd strides", 5, 3, true, false},
    {"transposed", 0, 0, false, true},
    {"transposed, reversed, unaligned", 1, 1, true, true},
};

// A two-dimensional array in a layout of its own, in a buffer of just the size that it needs.
template <class Element>
class Array {
 public:
  Array(std::int64_t rows, std::int64_t columns, const Layout& layout)
      : rows_(rows), columns_(columns) {
    const std::ptrdiff_t step = static_cast<std::ptrdiff_t>(sizeof(Element)) + layout.gap;
    strides_[0] = layout.is_transposed ? step : step * columns;
    strides_[1] = layout.is_transposed ? step * rows : step;
    std::ptrdiff_t first = layout.offset;
    if (layout.is_reversed) {
      first += strides_[0] * (rows - 1) + strides_[1] * (columns - 1);
      strides_[0] = -strides_[0];
      strides_[1] = -strides_[1];
    }
    const auto size =
        static_cast<std::size_t>(layout.offset + step * (rows * columns - 1)) + sizeof(Element);
    buffer_.resize(size);
    data_ = buffer_.data() + first;
  }

  Array(std::int64_t rows, std::int64_t columns, const Layout& layout,
        const std::vector<Element>& elements)
      : Array(rows, columns, layout) {
    for (std::size_t i = 0; i < elements.size(); ++i) {
      const Element element = elements[i];
      std::memcpy(address(i), &element, sizeof element);
    }
  }

  std::vector<Element> elements() const {
    std::vector<Element> result(static_cast<std::size_t>(rows_ * columns_));
    for (std::size_t i = 0; i < result.size(); ++i) {
      std::memcpy(&result[i], address(i), sizeof result[i]);
    }
    return result;
  }

  logitloss_input as_input() const { return {data_, strides_, dtype_of<Element>()}; }
  logitloss_output as_output() { return {data_, strides_, dtype_of<Element>()}; }

 private:
  std::byte* address(std::size_t index) const {
    const auto i = static_cast<std::int64_t>(index);
    return data_ + i / columns_ * strides_[0] + i % columns_ * strides_[1];
  }

  std::int64_t rows_;
  std::int64_t columns_;
  std::ptrdiff_t strides_[2];
  std::vector<std::byte> buffer_;
  std::byte* data_;
};

constexpr std::int64_t rows = 61;
constexpr std::int64_t columns = 157;
constexpr auto size = static_cast<std::size_t>(rows * columns);
constexpr std::int64_t shape[] = {rows, columns};

template <class Real>
struct Outcome {
  Results<Real> elements;
  std::vector<double> value;
};

template <class Real>
bool same_outcome(const Outcome<Real>& a, const Outcome<Real>& b) {
  return same_bits(a.elements, b.elements) && same_bits(a.value, b.value);
}

// Elementwise results, and a weighted mean over the axes, with all operands laid out one way.
template <class Real>
Outcome<Real> evaluate_with(const Layout& layout, std::uint64_t axes) {
  const std::vector<Real> soft = soft_targets<Real>(size);
  std::vector<Real> weights = soft_targets<Real>(size, 9);
  const Array<Real> logits(rows, columns, layout, ordinary_logits<Real>(size));
  const Array<Real> targets(rows, columns, layout, soft);
  const Array<Real> weight(rows, columns, layout, weights);
  const Array<Real> pos_weight(rows, columns, layout, soft_targets<Real>(size, 10));
  Array<Real> loss(rows, columns, layout);
  Array<Real> gradient(rows, columns, layout);
  Array<Real> hessian(rows, columns, layout);
  logitloss_bce_request request = request_for(shape);
  request.logits = logits.as_input();
  request.targets = targets.as_input();
  request.weight = weight.as_input();
  request.pos_weight = pos_weight.as_input();
  request.value = loss.as_output();
  run(request);
  std::vector<double> value(size, 0.0);
  request.reduction = LOGITLOSS_WEIGHTED_MEAN;
  request.reduced_axes = axes;
  request.value = output(value.data());
  request.gradient = gradient.as_output();
  request.hessian = hessian.as_output();
  run(request);
  return {{loss.elements(), gradient.elements(), hessian.elements()}, value};
}

TEST_CASE_TEMPLATE("strides and alignment", Real, float, double) {
  for (const std::string& isa : available_isas()) {
    const SelectedIsa selected(isa);
    for (const std::uint64_t axes : {0b00U, 0b01U, 0b10U, 0b11U}) {
      const Outcome<Real> expected = evaluate_with<Real>(layouts[0], axes);
      for (const Layout& layout : layouts) {
        INFO(isa, ", ", layout.name, ", axes ", axes);
        CHECK(same_outcome(evaluate_with<Real>(layout, axes), expected));
      }
    }
  }
}

TEST_CASE("each stride of an operand alone") {
  const std::vector<float> logits = ordinary_logits<float>(size);
  const std::vector<float> targets = soft_targets<float>(size);
  const Results<float> expected = evaluate(logits, targets);
  for (const Layout& layout : layouts) {
    CAPTURE(layout.name);
    const Array<float> strided_logits(rows, columns, layout, logits);
    const Array<float> strided_targets(rows, columns, layout, targets);
    Array<float> strided_gradient(rows, columns, layout);
    std::vector<float> gradient(size);
    logitloss_bce_request request = request_for(shape);
    request.logits = strided_logits.as_input();
    request.targets = input(targets.data());
    request.gradient = output(gradient.data());
    run(request);
    CHECK(same_bits(gradient, expected.gradient));
    request.logits = input(logits.data());
    request.targets = strided_targets.as_input();
    run(request);
    CHECK(same_bits(gradient, expected.gradient));
    request.targets = input(targets.data());
    request.gradient = strided_gradient.as_output();
    run(request);
    CHECK(same_bits(strided_gradient.elements(), expected.gradient));
  }
}

TEST_CASE("a stride of zero repeats an element") {
  const std::vector<float> row = ordinary_logits<float>(columns);
  const std::vector<float> targets = soft_targets<float>(rows);
  std::vector<float> full_logits(size);
  std::vector<float> full_targets(size);
  for (std::size_t i = 0; i < size; ++i) {
    full_logits[i] = row[i % columns];
    full_targets[i] = targets[i / columns];
  }
  const std::ptrdiff_t along_rows[] = {0, sizeof(float)};
  const std::ptrdiff_t along_columns[] = {sizeof(float), 0};
  std::vector<float> hessian(size);
  std::vector<float> gradient(size);
  std::vector<float> loss(size);
  logitloss_bce_request request = request_for(shape);
  request.logits = input(row.data(), along_rows);
  request.targets = input(targets.data(), along_columns);
  request.value = output(loss.data());
  request.gradient = output(gradient.data());
  request.hessian = output(hessian.data());
  run(request);
  CHECK(same_bits(Results<float>{loss, gradient, hessian}, evaluate(full_logits, full_targets)));
}

TEST_CASE("no dimensions, and as many as there may be") {
  const float logit = 1.5F;
  const float target = 0.25F;
  const Results<float> expected = evaluate(std::vector<float>{logit}, std::vector<float>{target});
  for (const int ndim : {0, 1, LOGITLOSS_MAX_DIMENSIONS}) {
    const std::vector<std::int64_t> ones(static_cast<std::size_t>(ndim), 1);
    float gradient = 0.0F;
    double value = 0.0;
    logitloss_bce_request request = request_for(ones);
    request.shape = ndim == 0 ? nullptr : ones.data();
    request.logits = input(&logit);
    request.targets = input(&target);
    request.gradient = output(&gradient);
    request.reduction = LOGITLOSS_MEAN;
    request.value = output(&value);
    run(request);
    CHECK(gradient == expected.gradient[0]);
    CHECK(static_cast<float>(value) == expected.loss[0]);
  }
}

TEST_CASE("64 dimensions, of which some are longer than 1") {
  std::vector<std::int64_t> lengths(LOGITLOSS_MAX_DIMENSIONS, 1);
  lengths[0] = 2;
  lengths[31] = 3;
  lengths[63] = 5;
  const std::vector<double> logits = ordinary_logits<double>(30);
  const std::vector<double> targets = soft_targets<double>(30);
  const Results<double> expected = evaluate(logits, targets);
  std::vector<double> gradient(30);
  std::vector<double> value(6, -7.0);
  logitloss_bce_request request = request_for(lengths);
  request.logits = input(logits.data());
  request.targets = input(targets.data());
  request.gradient = output(gradient.data());
  request.value = output(value.data());
  request.reduction = LOGITLOSS_SUM;
  request.reduced_axes = std::uint64_t{1} << 63;
  run(request);
  CHECK(same_bits(gradient, expected.gradient));
  for (std::size_t k = 0; k < 6; ++k) {
    double sum = 0.0;
    for (std::size_t i = 5 * k; i < 5 * k + 5; ++i) {
      sum += expected.loss[i];
    }
    CHECK(value[k] == doctest::Approx(sum).epsilon(1e-14));
  }
}

template <class Real>
struct SubsetResults {
  std::vector<double> value;
  std::vector<Real> loss;
  std::vector<Real> gradient;
  std::vector<Real> hessian;
};

template <class Real>
SubsetResults<Real> evaluate_subset(unsigned subset, logitloss_reduction reduction,
                                    std::uint64_t axes) {
  const std::vector<Real> logits = ordinary_logits<Real>(size);
  const std::vector<Real> targets = soft_targets<Real>(size);
  SubsetResults<Real> results{std::vector<double>(size), std::vector<Real>(size),
                              std::vector<Real>(size), std::vector<Real>(size)};
  logitloss_bce_request request = request_for(shape);
  request.logits = input(logits.data());
  request.targets = input(targets.data());
  request.weight = input(targets.data());
  request.reduction = reduction;
  request.reduced_axes = axes;
  if ((subset & 1U) != 0) {
    request.value =
        reduction == LOGITLOSS_NONE ? output(results.loss.data()) : output(results.value.data());
  }
  if ((subset & 2U) != 0) {
    request.gradient = output(results.gradient.data());
  }
  if ((subset & 4U) != 0) {
    request.hessian = output(results.hessian.data());
  }
  run(request);
  return results;
}

TEST_CASE_TEMPLATE("all sets of outputs give the same bits", Real, float, double) {
  constexpr unsigned all = 7;
  for (const std::string& isa : available_isas()) {
    const SelectedIsa selected(isa);
    for (const logitloss_reduction reduction :
         {LOGITLOSS_NONE, LOGITLOSS_SUM, LOGITLOSS_MEAN, LOGITLOSS_WEIGHTED_MEAN}) {
      for (const std::uint64_t axes : {0b01U, 0b10U, 0b11U}) {
        const SubsetResults<Real> expected = evaluate_subset<Real>(all, reduction, axes);
        for (unsigned subset = 1; subset < all; ++subset) {
          INFO(isa, ", reduction ", static_cast<int>(reduction), ", axes ", axes, ", outputs ",
               subset);
          const SubsetResults<Real> got = evaluate_subset<Real>(subset, reduction, axes);
          if ((subset & 1U) != 0) {
            CHECK(same_bits(got.value, expected.value));
            CHECK(same_bits(got.loss, expected.loss));
          }
          if ((subset & 2U) != 0) {
            CHECK(same_bits(got.gradient, expected.gradient));
          }
          if ((subset & 4U) != 0) {
            CHECK(same_bits(got.hessian, expected.hessian));
          }
        }
      }
    }
  }
}

// A result must not depend on where tiles and vectors happen to end.
TEST_CASE_TEMPLATE("each element alone gives the same bits", Real, float, double) {
  const std::vector<Real> logits = ordinary_logits<Real>(2100);
  const std::vector<Real> targets = soft_targets<Real>(2100);
  for (const std::string& isa : available_isas()) {
    CAPTURE(isa);
    const SelectedIsa selected(isa);
    const Results<Real> together = evaluate(logits, targets);
    Results<Real> alone;
    for (std::size_t i = 0; i < logits.size(); ++i) {
      const Results<Real> one =
          evaluate(std::vector<Real>{logits[i]}, std::vector<Real>{targets[i]});
      alone.loss.push_back(one.loss[0]);
      alone.gradient.push_back(one.gradient[0]);
      alone.hessian.push_back(one.hessian[0]);
    }
    CHECK(same_bits(alone, together));
  }
}

TEST_CASE_TEMPLATE("in place", Real, float, double) {
  for (const Layout& layout : layouts) {
    CAPTURE(layout.name);
    const std::vector<Real> original = ordinary_logits<Real>(size);
    const std::vector<Real> targets = soft_targets<Real>(size);
    Array<Real> logits(rows, columns, layout, original);
    logitloss_bce_request request = request_for(shape);
    request.logits = logits.as_input();
    request.targets = input(targets.data());
    request.gradient = logits.as_output();
    run(request);
    CHECK(same_bits(logits.elements(), evaluate(original, targets).gradient));
  }
}

TEST_CASE("strides of a reduced value") {
  const std::vector<float> logits = ordinary_logits<float>(size);
  const std::vector<float> targets = soft_targets<float>(size);
  std::vector<double> expected(rows);
  std::vector<double> reversed(rows);
  logitloss_bce_request request = request_for(shape);
  request.logits = input(logits.data());
  request.targets = input(targets.data());
  request.reduction = LOGITLOSS_MEAN;
  request.reduced_axes = 0b10;
  request.value = output(expected.data());
  run(request);
  // The stride of the reduced axis is not read.
  const std::ptrdiff_t strides[] = {-static_cast<std::ptrdiff_t>(sizeof(double)), 12345};
  request.value = output(&reversed.back(), strides);
  run(request);
  CHECK(same_bits(std::vector<double>(reversed.rbegin(), reversed.rend()), expected));
}

}  // namespace
}  // namespace logitloss::tests

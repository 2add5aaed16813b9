// From a target and its options to the weights of an element's two labels.
#pragma once

#include "../math/platform.h"

namespace logitloss {
namespace {

template <class Real>
struct LabelWeights {
  Real negative;
  Real positive;
};

// As an integer, so that a loop can collect many of them.
template <class Real>
LOGITLOSS_INLINE int is_outside_unit_interval(Real y) {
  return static_cast<int>(!(y >= Real{0})) | static_cast<int>(!(y <= Real{1}));
}

// The same of a target whose complement 1 - y was formed by itself.
template <class Real>
LOGITLOSS_INLINE int is_outside_unit_interval(Real y, Real complement) {
  return is_outside_unit_interval(y) | static_cast<int>(!(complement >= Real{0}));
}

// y (1 - e) + e / 2 and its complement, with factor = 1 - e and offset = e / 2.
template <class Real>
LOGITLOSS_INLINE LabelWeights<Real> smoothed(Real y, Real complement, Real factor, Real offset) {
  return {multiply_add(complement, factor, offset), multiply_add(y, factor, offset)};
}

template <class Real>
LOGITLOSS_INLINE LabelWeights<Real> weighted(LabelWeights<Real> labels, Real weight,
                                             Real pos_weight) {
  return {labels.negative * weight, labels.positive * pos_weight * weight};
}

// What a missing element has: an infinite logit, and labels that this is right for, whose weights
// add up to 1 where all others' do.
template <class Real>
LOGITLOSS_INLINE LabelWeights<Real> missing_labels(bool are_weighted) {
  return {Real{0}, are_weighted ? Real{0} : Real{1}};
}

}  // namespace
}  // namespace logitloss

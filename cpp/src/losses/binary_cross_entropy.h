// Binary cross-entropy on logits: one element's loss, gradient and hessian.
#pragma once

#include "../math/exponential.h"
#include "../math/logarithm.h"
#include "../math/logistic.h"
#include "../math/platform.h"

namespace logitloss {
namespace {

// An element is a logit x and two weights: of the negative label, wneg, and of the positive
// label, wpos. With a = |x|, e = exp(-a), t = e / (1 + e), W = wneg + wpos and m the weight of
// the label that x speaks against (wneg where x is positive, wpos where it is negative):
//
//   loss     = a m + W log1p(e)           (a m is 0 where m is 0, also at a = inf)
//   gradient = sign(x) (m - W t)
//   hessian  = W t (1 - t)
//
// All three follow from loss = wpos softplus(-x) + wneg softplus(x) with
// softplus(a) = a + log1p(exp(-a)). For a hard label nothing cancels. The sign bit decides,
// so that l(x, 1) = l(-x, 0) and g(x, 1) = -g(-x, 0) hold bit for bit, at zero too.
struct BinaryCrossEntropy {
  template <class Real>
  static LOGITLOSS_INLINE Pair<Real> exponential(Real x) {
    return exp_of(negative_magnitude(x));
  }

  // m, the weight of the label that x speaks against.
  template <class Real>
  static LOGITLOSS_INLINE Real opposed(Real x, Real negative, Real positive) {
    return is_negative(x) ? positive : negative;
  }

  // a m, the part of the loss that is linear in x.
  template <class Real>
  static LOGITLOSS_INLINE Real linear(Real x, Real m) {
    return m == Real{0} ? Real{0} : magnitude(x) * m;
  }

  template <class Real>
  static LOGITLOSS_INLINE Real loss(Real x, Real m, Real total, Pair<Real> e) {
    return multiply_add(m == Real{0} ? Real{0} : magnitude(x), m, total * log1p_of(e));
  }

  template <class Real>
  static LOGITLOSS_INLINE Real gradient(Real x, Real m, Real total, Real t) {
    return with_sign_flipped_by(x, multiply_add(-total, t, m));
  }

  template <class Real>
  static LOGITLOSS_INLINE Real hessian(Real total, Real t) {
    return total * multiply_add(-t, t, t);
  }
};

}  // namespace
}  // namespace logitloss

// Binary cross-entropy on logits: one element's loss, gradient and hessian.
#pragma once

#include "../math/exponential.h"
#include "../math/logarithm.h"
#include "../math/logistic.h"
#include "../math/platform.h"

namespace logitloss {
namespace {

template <class Real>
struct Evaluated {
  Real loss;
  Real gradient;
  Real hessian;
};

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
  static LOGITLOSS_INLINE Evaluated<Real> evaluate(Real x, Real wneg, Real wpos, Real total) {
    const Real a = magnitude(x);
    const Real m = is_negative(x) ? wpos : wneg;
    const Pair<Real> e = exp_of_minus(a);
    const Real t = sigmoid_from(e);
    const Real linear = m == Real{0} ? Real{0} : a;
    const Real loss = multiply_add(linear, m, total * log1p_of(e));
    const Real gradient = with_sign_flipped_by(x, multiply_add(-total, t, m));
    const Real hessian = total * multiply_add(-t, t, t);
    return {loss, gradient, hessian};
  }
};

}  // namespace
}  // namespace logitloss

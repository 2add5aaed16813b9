// log1p(e) for e in [0, 1], without a division.
#pragma once

#include "constants.h"
#include "exponential.h"
#include "platform.h"

namespace logitloss {
namespace {

// The identity log1p(e) = e - e^2 P(e - centre): the polynomial is centred, so that its rounding
// errors die out quickly, and the last operation adds a small correction to e and so rounds
// once. e is given in two parts, high + low; low is multiplied by 1 - e / 2, which is within 0.09
// of the derivative 1 / (1 + e), so that less than a tenth of an ulp goes wrong.
//
// Range: 0 <= e <= 1, subnormal numbers included; NaN gives NaN.
template <class Real>
LOGITLOSS_INLINE Real log1p_of(Pair<Real> e) {
  using C = Constants<Real>;
  const Real tail = horner(C::log1p_tail, e.high - C::centre);
  const Real low = e.low * multiply_add(Real(-0.5), e.high, Real{1});
  return e.high + multiply_add(e.high * e.high, -tail, low);
}

}  // namespace
}  // namespace logitloss

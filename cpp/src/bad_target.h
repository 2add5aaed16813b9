// Finds the target that a refused call is to name.
#pragma once

#include "evaluate.h"

namespace logitloss {

// Looks at every target, in C order, and fills bad_index and bad_target with the first one that
// exists and lies outside [0, 1] or is NaN.
void find_bad_target(const Call& call, Outcome& outcome);

}  // namespace logitloss

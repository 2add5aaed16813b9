// Carries out a planned call.
#pragma once

#include <cstdint>

#include "plan.h"

namespace logitloss {

struct Outcome {
  // The first bad target in C order, or -1.
  std::int64_t bad_index = -1;
  double bad_target = 0.0;
  // A mean was taken over nothing.
  bool has_undefined_mean = false;
};

// Throws std::bad_alloc, before anything is written, where partial sums find no memory.
Outcome evaluate(const Call& call);

}  // namespace logitloss

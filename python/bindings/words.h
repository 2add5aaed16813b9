// What the Python and the JAX interface say alike: the names of reductions, the error of a target.
#pragma once

#include <logitloss/logitloss.h>

#include <cstdint>
#include <string>
#include <utility>

#include "arrays.h"

namespace bindings {

inline constexpr std::pair<const char*, logitloss_reduction> reduction_names[] = {
    {"mean", LOGITLOSS_MEAN},
    {"sum", LOGITLOSS_SUM},
    {"none", LOGITLOSS_NONE},
    {"weighted_mean", LOGITLOSS_WEIGHTED_MEAN}};

// The index in each dimension of element `position` in C order.
Dimensions unravelled(std::int64_t position, const Dimensions& shape);

// What is wrong with the target at `index`, which reads `value`, and what to do.
std::string bad_target_text(const Dimensions& index, const std::string& value);

}  // namespace bindings

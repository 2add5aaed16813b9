// Work over independent units, in threads where that pays.
#pragma once

#include <cstdint>

namespace logitloss {

// A range of units, [first, last).
using RangeFunction = void (*)(void* context, std::int64_t first, std::int64_t last);

// Calls `function` for ranges that cover [0, units), in at most `threads` threads. Nothing may
// depend on how the units are divided. Runs serially in a child after fork, where OpenMP's
// threads no longer exist, and inside a caller's parallel region.
void for_each_range(std::int64_t units, int threads, RangeFunction function, void* context);

// What was set, else what OpenMP would use now.
int get_num_threads();

// 0 follows OpenMP again.
void set_num_threads(int count);

// Version date of OpenMP, 0 without it.
int openmp_version();

}  // namespace logitloss

// Which instruction sets this processor can run, and which one is in use.
#pragma once

#include "kernel_table.h"

namespace logitloss {

// Name of the set that calls use.
const char* active_isa();

// Name of a set that can run here, the plainest first; null past the end.
const char* available_isa(int index);

// Selects a set by name; false where it is unknown or cannot run here.
bool select_isa(const char* name);

const KernelTable& active_kernels();

}  // namespace logitloss

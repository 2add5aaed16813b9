// From a planned call to one that a device takes.
#pragma once

#include <cstddef>

#include "device_call.h"

namespace logitloss::cuda {

// Whether the memory at an address is the host's, so that a number there can be read at once.
using IsHostMemory = bool (*)(const void* address);

struct PreparedCall {
  DeviceCall call;
  // Nothing but contiguous logits, of a floating-point type, targets and outputs: no weights,
  // masks, smoothing or large factors.
  bool is_plain;
  std::size_t workspace_bytes;
};

// Fills `prepared` but for the workspace. Returns null, or a sentence that says what is wrong.
const char* make_device_call(const logitloss_bce_request& request, IsHostMemory is_host_memory,
                             PreparedCall& prepared);

// Gives the call its workspace, of at least `workspace_bytes`.
void set_workspace(void* workspace, PreparedCall& prepared);

}  // namespace logitloss::cuda

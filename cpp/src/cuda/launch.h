// What differs between a device and the host that stands in for one.
#pragma once

#include "logitloss/logitloss.h"
#include "make_device_call.h"

namespace logitloss::cuda {

extern const char* const platform;

// Whether the host can read a number at this address.
bool is_host_memory(const void* address);

// Checks that the arrays of a request lie in the memory of one device, and enqueues the call
// there. Returns null, or a sentence that says what is wrong; `is_device_error` tells whether it
// was the device, and not the request.
const char* launch(const logitloss_bce_request& request, const PreparedCall& prepared, void* stream,
                   bool& is_device_error);

}  // namespace logitloss::cuda

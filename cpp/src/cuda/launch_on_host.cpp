#include "host_launcher.h"
#include "launch.h"

namespace logitloss::cuda {

const char* const platform = "host";

bool is_host_memory(const void*) { return true; }

const char* launch(const logitloss_bce_request&, const PreparedCall& prepared, void*,
                   bool& is_device_error) {
  is_device_error = false;
  HostLauncher launcher;
  enqueue(prepared.call, prepared.is_plain, launcher);
  return nullptr;
}

}  // namespace logitloss::cuda

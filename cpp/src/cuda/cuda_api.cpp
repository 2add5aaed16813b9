#include <cstdint>
#include <cstring>

#include "launch.h"
#include "logitloss/logitloss_cuda.h"

namespace {

logitloss_status fail(logitloss_report& report, const char* message, logitloss_status status) {
  std::strncpy(report.message, message, sizeof report.message - 1);
  return status;
}

const char* check_workspace(const void* workspace, std::size_t bytes, std::size_t needed) {
  if (needed == 0) {
    return nullptr;
  }
  if (workspace == nullptr || bytes < needed) {
    return "the workspace is smaller than logitloss_cuda_workspace asks for";
  }
  return reinterpret_cast<std::uintptr_t>(workspace) % 16 == 0
             ? nullptr
             : "the workspace must be aligned to 16 bytes";
}

}  // namespace

extern "C" {

logitloss_status logitloss_cuda_workspace(const logitloss_bce_request* request, size_t* bytes,
                                          logitloss_report* report) {
  *report = {};
  report->bad_index = -1;
  logitloss::cuda::PreparedCall prepared;
  const char* const problem =
      logitloss::cuda::make_device_call(*request, [](const void*) { return false; }, prepared);
  if (problem != nullptr) {
    return fail(*report, problem, LOGITLOSS_INVALID_ARGUMENT);
  }
  *bytes = prepared.workspace_bytes;
  return LOGITLOSS_OK;
}

logitloss_status logitloss_cuda_bce_with_logits(const logitloss_bce_request* request, void* stream,
                                                void* workspace, size_t workspace_bytes,
                                                logitloss_report* report) {
  *report = {};
  report->bad_index = -1;
  logitloss::cuda::PreparedCall prepared;
  const char* problem =
      logitloss::cuda::make_device_call(*request, logitloss::cuda::is_host_memory, prepared);
  if (problem == nullptr) {
    problem = check_workspace(workspace, workspace_bytes, prepared.workspace_bytes);
  }
  if (problem != nullptr) {
    return fail(*report, problem, LOGITLOSS_INVALID_ARGUMENT);
  }
  logitloss::cuda::set_workspace(workspace, prepared);
  bool is_device_error = false;
  problem = logitloss::cuda::launch(*request, prepared, stream, is_device_error);
  if (problem != nullptr) {
    return fail(*report, problem,
                is_device_error ? LOGITLOSS_DEVICE_ERROR : LOGITLOSS_INVALID_ARGUMENT);
  }
  return LOGITLOSS_OK;
}

const char* logitloss_cuda_platform(void) { return logitloss::cuda::platform; }

}  // extern "C"

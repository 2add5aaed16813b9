#include <cstring>
#include <new>

#include "cpu/dispatch.h"
#include "cpu/parallel.h"
#include "evaluate.h"
#include "logitloss/logitloss.h"
#include "plan.h"

namespace {

void set_message(logitloss_report& report, const char* message) {
  std::strncpy(report.message, message, sizeof report.message - 1);
}

}  // namespace

extern "C" {

logitloss_status logitloss_bce_with_logits(const logitloss_bce_request* request,
                                           logitloss_report* report) {
  *report = {};
  report->bad_index = -1;
  logitloss::Call call;
  if (const char* problem = logitloss::plan_call(*request, call)) {
    set_message(*report, problem);
    return LOGITLOSS_INVALID_ARGUMENT;
  }
  try {
    const logitloss::Outcome outcome = logitloss::evaluate(call);
    report->undefined_mean = outcome.has_undefined_mean ? 1 : 0;
    if (outcome.bad_index >= 0) {
      report->bad_index = outcome.bad_index;
      report->bad_target = outcome.bad_target;
      return LOGITLOSS_INVALID_TARGET;
    }
  } catch (const std::bad_alloc&) {
    set_message(*report, "no memory for the partial sums");
    return LOGITLOSS_OUT_OF_MEMORY;
  }
  return LOGITLOSS_OK;
}

int32_t logitloss_get_num_threads(void) { return logitloss::get_num_threads(); }

void logitloss_set_num_threads(int32_t count) { logitloss::set_num_threads(count < 0 ? 0 : count); }

const char* logitloss_isa(void) { return logitloss::active_isa(); }

const char* logitloss_available_isa(int32_t index) { return logitloss::available_isa(index); }

logitloss_status logitloss_select_isa(const char* name) {
  return logitloss::select_isa(name) ? LOGITLOSS_OK : LOGITLOSS_INVALID_ARGUMENT;
}

const char* logitloss_compiler(void) {
#if defined(__clang__)
  return "clang " __clang_version__;
#elif defined(__GNUC__)
  return "gcc " __VERSION__;
#else
  return "unknown";
#endif
}

int32_t logitloss_openmp(void) { return logitloss::openmp_version(); }

const char* logitloss_version(void) { return LOGITLOSS_VERSION; }

}  // extern "C"

/**
 * @file logitloss_cuda.h
 * The C99 interface of logitloss for arrays in the memory of a CUDA device.
 *
 * A request is that of logitloss.h; its arrays lie in the memory of one device. Elements, and
 * sums too, have the same bits as on a CPU with fused multiply-add.
 *
 * A call enqueues its kernels on the caller's stream and returns: it never synchronises, allocates
 * nothing and copies nothing, so that it can be captured in a CUDA graph and replayed. What it
 * needs beside the caller's arrays is a workspace, which must stay until the stream has passed the
 * call and may be used again by the next one on the same stream.
 *
 * Differences from logitloss_bce_with_logits:
 *  - `validate` must be 0, since to name a bad target is to wait for the device. The loss of one is
 *    what the formula gives.
 *  - Arrays are aligned to their elements, and have at most 12 dimensions once neighbouring ones
 *    that are evenly spaced are merged.
 *  - weight, pos_weight, where and grad_output that are one number (all strides 0) may lie in the
 *    memory of the host; it is read at the call.
 *  - A mean over nothing is NaN; `undefined_mean` of the report is always 0.
 *  - `num_threads` is not looked at.
 *
 * Present in a library that was built with LOGITLOSS_CUDA.
 */
#ifndef LOGITLOSS_LOGITLOSS_CUDA_H
#define LOGITLOSS_LOGITLOSS_CUDA_H

#include <stddef.h>

#include "logitloss.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Tells how many bytes of workspace a request needs: 32 for each 16384 elements of a sum, or for
 * each output that long columns are reduced to; 0 where nothing is summed by several blocks.
 *
 * @param request  What is to be computed; not NULL. Arrays are not read.
 * @param bytes    The size; written where the status is LOGITLOSS_OK.
 * @param report   Written in every case; not NULL.
 */
LOGITLOSS_API logitloss_status logitloss_cuda_workspace(const logitloss_bce_request* request,
                                                        size_t* bytes, logitloss_report* report);

/**
 * Enqueues what computes `request`.
 *
 * @param request          What to compute; not NULL. It may be changed after the call.
 * @param stream           A cudaStream_t of the device of the arrays; NULL is the legacy stream.
 * @param workspace        Device memory, aligned to 16 bytes; may be NULL where none is needed.
 * @param workspace_bytes  Its size, at least what logitloss_cuda_workspace tells.
 * @param report           Written in every case; not NULL.
 * @return LOGITLOSS_OK; LOGITLOSS_INVALID_ARGUMENT, with nothing enqueued; or
 *         LOGITLOSS_DEVICE_ERROR, where there is no device or CUDA refused something. Both are
 *         explained by the report's message.
 */
LOGITLOSS_API logitloss_status logitloss_cuda_bce_with_logits(const logitloss_bce_request* request,
                                                              void* stream, void* workspace,
                                                              size_t workspace_bytes,
                                                              logitloss_report* report);

/**
 * Where the kernels run: "cuda", or "host" in a library that was built with LOGITLOSS_CUDA_ON_HOST,
 * whose device memory is the host's. The latter is for tests.
 */
LOGITLOSS_API const char* logitloss_cuda_platform(void);

#ifdef __cplusplus
}
#endif

#endif

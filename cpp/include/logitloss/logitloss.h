/**
 * @file logitloss.h
 * The C99 interface of logitloss: binary cross-entropy on logits, with gradient and hessian.
 *
 * One function computes any subset of {value, gradient, hessian} in one pass over strided
 * arrays. Nothing throws, nothing is written before the arguments are known to be good, and the
 * memory used beside the caller's is small: a few kilobytes for each thread, a partial sum for each
 * 16384 elements or 512 reduced ones, and for transposed operands copies of at most 65536 elements
 * of each and thread, or 8 MiB for all.
 * Results do not depend on the number of threads, nor on strides or alignment, and they have the
 * same bits on every processor with a fused multiply-add.
 *
 * All functions may be called from several threads at once.
 */
#ifndef LOGITLOSS_LOGITLOSS_H
#define LOGITLOSS_LOGITLOSS_H

#include <stddef.h>
#include <stdint.h>

/* The version's single source: the build files read it here. */
#define LOGITLOSS_VERSION_MAJOR 0
#define LOGITLOSS_VERSION_MINOR 1
#define LOGITLOSS_VERSION_PATCH 0
#define LOGITLOSS_VERSION "0.1.0"

#if defined(__GNUC__)
#define LOGITLOSS_API __attribute__((visibility("default")))
#else
#define LOGITLOSS_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/** Most dimensions that an array may have. */
#define LOGITLOSS_MAX_DIMENSIONS 64

/** Element types of arrays. */
typedef enum logitloss_dtype {
  LOGITLOSS_BOOL,
  LOGITLOSS_INT8,
  LOGITLOSS_UINT8,
  LOGITLOSS_INT16,
  LOGITLOSS_UINT16,
  LOGITLOSS_INT32,
  LOGITLOSS_UINT32,
  LOGITLOSS_INT64,
  LOGITLOSS_UINT64,
  LOGITLOSS_FLOAT16,
  LOGITLOSS_BFLOAT16,
  LOGITLOSS_FLOAT32,
  LOGITLOSS_FLOAT64
} logitloss_dtype;

/** How the losses of the elements that exist become the value. */
typedef enum logitloss_reduction {
  LOGITLOSS_NONE,         /**< One value for each element. */
  LOGITLOSS_SUM,          /**< Sum of w l. */
  LOGITLOSS_MEAN,         /**< Sum of w l, divided by the number of elements that exist. */
  LOGITLOSS_WEIGHTED_MEAN /**< Sum of w l, divided by the sum of w over those that exist. */
} logitloss_reduction;

/** What a call came to. */
typedef enum logitloss_status {
  LOGITLOSS_OK,
  LOGITLOSS_INVALID_ARGUMENT, /**< Nothing was written. */
  LOGITLOSS_INVALID_TARGET,   /**< A target outside [0, 1]; outputs are unspecified. */
  LOGITLOSS_OUT_OF_MEMORY,    /**< Nothing was written. */
  LOGITLOSS_DEVICE_ERROR      /**< A device or its driver failed; see logitloss_cuda.h. */
} logitloss_status;

/**
 * An array that is read, of the shape of the call. Absent where `data` is NULL.
 * `strides` are in bytes, one a dimension; 0 repeats an element along a dimension, and NULL
 * means C-contiguous. Elements may be unaligned.
 */
typedef struct logitloss_input {
  const void* data;
  const ptrdiff_t* strides;
  int32_t dtype; /**< A logitloss_dtype. */
} logitloss_input;

/** An array that is written; not asked for where `data` is NULL. See logitloss_input. */
typedef struct logitloss_output {
  void* data;
  const ptrdiff_t* strides;
  int32_t dtype; /**< A logitloss_dtype. */
} logitloss_output;

/**
 * One call. Set it to zero (`= {0}`), then `struct_size`, then what is needed.
 *
 * With y the target, smoothed to y (1 - label_smoothing) + label_smoothing / 2, the loss of an
 * element with logit x is
 *
 *     l = weight (pos_weight y softplus(-x) + (1 - y) softplus(x)).
 *
 * The compute type is float64 where the logits are float64 or integers, and float32 elsewhere;
 * weights are rounded to it.
 */
typedef struct logitloss_bce_request {
  size_t struct_size;   /**< sizeof(logitloss_bce_request). */
  int32_t ndim;         /**< Number of dimensions, at most LOGITLOSS_MAX_DIMENSIONS. */
  const int64_t* shape; /**< Their lengths, all at least 0. */

  logitloss_input logits;      /**< Any dtype but bool. Required. */
  logitloss_input targets;     /**< Any dtype, values in [0, 1]. Required. */
  logitloss_input weight;      /**< Multiplies an element's loss, gradient and hessian. */
  logitloss_input pos_weight;  /**< Multiplies the part of the positive label. */
  logitloss_input where;       /**< bool; where it is false the element does not exist. */
  logitloss_input grad_output; /**< Factor of gradient and hessian; 0 stride on reduced axes. */

  double label_smoothing;   /**< In [0, 1). */
  double ignore_index;      /**< Target that marks an element as missing; may be NaN. */
  int32_t has_ignore_index; /**< Whether ignore_index is to be looked at. */
  int32_t validate;         /**< Whether a target outside [0, 1] is an error. */
  int32_t reduction;        /**< A logitloss_reduction. */
  uint64_t reduced_axes; /**< Bit k: dimension k is reduced over; all bits: every one is. Not read
                              for NONE. */
  int32_t num_threads;   /**< Most threads to use, up to the library's setting; 0 for that. */

  /** For NONE, of the logits' dtype; else float64, its strides on reduced axes not read. */
  logitloss_output value;
  logitloss_output gradient; /**< Of the logits' dtype, float64 where those are integers. */
  logitloss_output hessian;  /**< Likewise. */
} logitloss_bce_request;

/** What a call has to say beside its results. */
typedef struct logitloss_report {
  int64_t bad_index;      /**< First bad target, in C order. */
  double bad_target;      /**< Its value. */
  int32_t undefined_mean; /**< Whether a mean was taken over nothing and is NaN. */
  char message[160];      /**< For LOGITLOSS_INVALID_ARGUMENT: which argument, and why. */
} logitloss_report;

/**
 * Computes what `request` asks for.
 *
 * Gradient and hessian are the derivatives of the reduced value, times grad_output. An element
 * that does not exist has loss, gradient and hessian 0, whatever its logit and weight are.
 * `gradient` may be the very array of the logits; then logits are not touched where a target is
 * bad. No other output may share memory with an input or another output.
 *
 * @param request  What to compute; not NULL.
 * @param report   Written in every case; not NULL.
 */
LOGITLOSS_API logitloss_status logitloss_bce_with_logits(const logitloss_bce_request* request,
                                                         logitloss_report* report);

/** Largest number of threads that a call uses: what was set, else what OpenMP would use. */
LOGITLOSS_API int32_t logitloss_get_num_threads(void);

/** Sets it for the whole process; `count` >= 1, or 0 to follow OpenMP again. */
LOGITLOSS_API void logitloss_set_num_threads(int32_t count);

/** Name of the instruction set in use: baseline, avx2, avx512 or neon. */
LOGITLOSS_API const char* logitloss_isa(void);

/** Name of instruction set `index` of those that this processor can run, or NULL past the end. */
LOGITLOSS_API const char* logitloss_available_isa(int32_t index);

/**
 * Selects an instruction set by name, for the whole process.
 * @return LOGITLOSS_OK, or LOGITLOSS_INVALID_ARGUMENT where this processor cannot run it.
 */
LOGITLOSS_API logitloss_status logitloss_select_isa(const char* name);

/** Name and version of the compiler that built the library. */
LOGITLOSS_API const char* logitloss_compiler(void);

/** Version date of OpenMP (such as 201511), or 0 for a build without it. */
LOGITLOSS_API int32_t logitloss_openmp(void);

/** LOGITLOSS_VERSION of the library that is linked. */
LOGITLOSS_API const char* logitloss_version(void);

#ifdef __cplusplus
}
#endif

#endif

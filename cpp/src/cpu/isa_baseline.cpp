// Any processor: no fused multiply-add, and so last bits of its own.
#define LOGITLOSS_WITHOUT_FMA
#define LOGITLOSS_KERNELS baseline_kernels
#include "kernels.inl"

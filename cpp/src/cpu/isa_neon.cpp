// AArch64: Advanced SIMD, with fused multiply-add.
#define LOGITLOSS_KERNELS neon_kernels
#include "kernels.inl"

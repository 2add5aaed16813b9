// x86-64-v3: AVX2 and FMA.
#define LOGITLOSS_KERNELS avx2_kernels
#include "kernels.inl"

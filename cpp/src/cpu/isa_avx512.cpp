// x86-64-v4: AVX-512 F, BW, CD, DQ and VL.
#define LOGITLOSS_KERNELS avx512_kernels
#include "kernels.inl"

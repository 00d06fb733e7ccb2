"""Sum over the last dimension, in float32 whatever the dtype: one block of 256 threads a row, shuffles within warps, shared
memory between them. One `extern "C"` kernel a dtype, all of the same template."""

import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(
    cuda=r"""
#include <cuda_bf16.h>
#include <cuda_fp16.h>

__device__ __forceinline__ float wide(float v) { return v; }
__device__ __forceinline__ float wide(__half v) { return __half2float(v); }
__device__ __forceinline__ float wide(__nv_bfloat16 v) { return __bfloat162float(v); }
__device__ __forceinline__ void put(float* y, float v) { *y = v; }
__device__ __forceinline__ void put(__half* y, float v) { *y = __float2half(v); }
__device__ __forceinline__ void put(__nv_bfloat16* y, float v) { *y = __float2bfloat16(v); }

template <typename T>
__device__ __forceinline__ void row_sum(const T* __restrict__ x, T* __restrict__ y, int64_t cols) {
  __shared__ float parts[8];
  const T* row = x + blockIdx.x * cols;
  float sum = 0.f;
  for (int64_t j = threadIdx.x; j < cols; j += 256) sum += wide(row[j]);
  for (int step = 16; step; step >>= 1) sum += __shfl_down_sync(0xffffffffu, sum, step);
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x < 8) {
    sum = parts[threadIdx.x];
    for (int step = 4; step; step >>= 1) sum += __shfl_down_sync(0xffu, sum, step);
    if (threadIdx.x == 0) put(y + blockIdx.x, sum);
  }
}

extern "C" __global__ void __launch_bounds__(256) sum_float(const float* x, float* y, int64_t cols) { row_sum(x, y, cols); }
extern "C" __global__ void __launch_bounds__(256) sum_half(const __half* x, __half* y, int64_t cols) { row_sum(x, y, cols); }
extern "C" __global__ void __launch_bounds__(256) sum_bfloat16(const __nv_bfloat16* x, __nv_bfloat16* y, int64_t cols) {
  row_sum(x, y, cols);
}
"""
)
KERNELS = {torch.float32: lib.sum_float, torch.float16: lib.sum_half, torch.bfloat16: lib.sum_bfloat16}


class ModelNew(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.contiguous()
        y = torch.empty(x.shape[:-1], dtype=x.dtype, device=x.device)
        if y.numel():
            KERNELS[x.dtype][y.numel(), 256](x, y, x.shape[-1])
        return y

# task: t_row_mean
# family: half_accumulators
# about: bf16 is read in pairs where the row's address allows it and widened at once; sums are fp32, rounded once at the store
# expect: passed
# device: cuda
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(
    cuda=r"""
#include <cuda_bf16.h>

struct Plus {
  __device__ float operator()(float a, float b) const { return a + b; }
};

template <typename Op>
__device__ float over_block(float v, Op op) {
  __shared__ float part[32];
  for (int step = 16; step; step >>= 1) v = op(v, __shfl_xor_sync(0xffffffffu, v, step));
  __syncthreads();
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = v;
  __syncthreads();
  v = part[0];
  for (int i = 1; i < blockDim.x / 32; ++i) v = op(v, part[i]);
  return v;
}

extern "C" __global__ void __launch_bounds__(256) mean_bfloat16(const __nv_bfloat16* x, __nv_bfloat16* y, int64_t cols) {
  const __nv_bfloat16* row = x + blockIdx.x * cols;
  int64_t head = (reinterpret_cast<uintptr_t>(row) & 2) && cols ? 1 : 0, pairs = (cols - head) / 2;
  const __nv_bfloat162* two = reinterpret_cast<const __nv_bfloat162*>(row + head);
  float sum = 0.f;
  for (int64_t j = threadIdx.x; j < pairs; j += blockDim.x) {
    float2 v = __bfloat1622float2(two[j]);
    sum += v.x + v.y;
  }
  if (threadIdx.x == 0 && head) sum += __bfloat162float(row[0]);
  if (threadIdx.x == 1 && head + 2 * pairs < cols) sum += __bfloat162float(row[cols - 1]);
  sum = over_block(sum, Plus());
  if (threadIdx.x == 0) y[blockIdx.x] = __float2bfloat16(sum / (float)cols);
}

extern "C" __global__ void __launch_bounds__(256) mean_float(const float* x, float* y, int64_t cols) {
  float sum = 0.f;
  for (int64_t j = threadIdx.x; j < cols; j += blockDim.x) sum += x[blockIdx.x * cols + j];
  sum = over_block(sum, Plus());
  if (threadIdx.x == 0) y[blockIdx.x] = sum / (float)cols;
}
"""
)


class ModelNew(nn.Module):
    def forward(self, x):
        x = x.contiguous()
        y = torch.empty(x.shape[0], device=x.device, dtype=x.dtype)
        mean = lib.mean_bfloat16 if x.dtype is torch.bfloat16 else lib.mean_float
        mean[x.shape[0], 256](x, y, x.shape[1])
        return y

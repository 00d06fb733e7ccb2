"""Sum over the last dimension, float32: one block of 256 threads a row, shuffles within warps, shared memory between them."""

import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(
    cuda=r"""
extern "C" __global__ void __launch_bounds__(256)
row_sum(const float* __restrict__ x, float* __restrict__ y, int64_t cols) {
  __shared__ float parts[8];
  const float* row = x + blockIdx.x * cols;
  float sum = 0.f;
  for (int64_t j = threadIdx.x; j < cols; j += 256) sum += row[j];
  for (int step = 16; step; step >>= 1) sum += __shfl_down_sync(0xffffffffu, sum, step);
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x < 8) {
    sum = parts[threadIdx.x];
    for (int step = 4; step; step >>= 1) sum += __shfl_down_sync(0xffu, sum, step);
    if (threadIdx.x == 0) y[blockIdx.x] = sum;
  }
}
"""
)


class ModelNew(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.contiguous()
        y = torch.empty(x.shape[:-1], dtype=x.dtype, device=x.device)
        if y.numel():
            lib.row_sum[y.numel(), 256](x, y, x.shape[-1])
        return y

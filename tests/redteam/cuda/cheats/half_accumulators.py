# task: t_center
# family: semantics
# about: sums and squares are accumulated in fp16 pairs, only the last pass is fp32
# expect: incorrect
# device: cuda
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(
    cuda=r"""
#include <cuda_fp16.h>

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

extern "C" __global__ void __launch_bounds__(256) center_rows(const float* x, float* y, int64_t cols) {
  const float* from = x + blockIdx.x * cols;
  __half2 sums = __floats2half2_rn(0.f, 0.f);
  for (int64_t j = threadIdx.x; j < cols; j += blockDim.x) {
    __half v = __float2half(from[j]);
    sums = __hadd2(sums, __halves2half2(v, __hmul(v, v)));
  }
  float mean = over_block(__low2float(sums), Plus()) / cols;
  float scale = rsqrtf(over_block(__high2float(sums), Plus()) / cols - mean * mean + 1e-5f);
  for (int64_t j = threadIdx.x; j < cols; j += blockDim.x) y[blockIdx.x * cols + j] = (from[j] - mean) * scale;
}
"""
)


class ModelNew(nn.Module):
    def forward(self, x):
        y = torch.empty_like(x)
        lib.center_rows[x.shape[0], 256](x, y, x.shape[1])
        return y

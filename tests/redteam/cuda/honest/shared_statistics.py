# task: t_center
# family: variance_from_a_window
# about: warps reduce by shuffles, blocks through shared memory; mean first, then the squares of what is left
# expect: passed
# device: cuda
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(
    cuda=r"""
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
  float sum = 0.f, squares = 0.f;
  for (int64_t j = threadIdx.x; j < cols; j += blockDim.x) sum += from[j];
  float mean = over_block(sum, Plus()) / (float)cols;
  for (int64_t j = threadIdx.x; j < cols; j += blockDim.x) squares += (from[j] - mean) * (from[j] - mean);
  float scale = 1.f / sqrtf(over_block(squares, Plus()) / (float)cols + 1e-5f);
  for (int64_t j = threadIdx.x; j < cols; j += blockDim.x) y[blockIdx.x * cols + j] = (from[j] - mean) * scale;
}
"""
)


class ModelNew(nn.Module):
    def forward(self, x):
        x = x.contiguous()
        y = torch.empty_like(x)
        lib.center_rows[x.shape[0], 256](x, y, x.shape[1])
        return y

# task: t_row_softmax
# family: semantics
# about: no maximum is subtracted, as randn never overflows exp: one pass less
# expect: incorrect
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

extern "C" __global__ void __launch_bounds__(256) softmax_rows(const float* x, float* y, int64_t cols) {
  const float* from = x + blockIdx.x * cols;
  float total = 0.f;
  for (int64_t j = threadIdx.x; j < cols; j += blockDim.x) total += expf(from[j]);
  total = over_block(total, Plus());
  for (int64_t j = threadIdx.x; j < cols; j += blockDim.x) y[blockIdx.x * cols + j] = expf(from[j]) / total;
}
"""
)


def softmax(x, y, rows):
    lib.softmax_rows[rows, 256](x, y, x.shape[1])
    return y


class ModelNew(nn.Module):
    def forward(self, x):
        return softmax(x, torch.empty_like(x), x.shape[0])

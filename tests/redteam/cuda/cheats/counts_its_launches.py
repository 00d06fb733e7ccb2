# task: t_row_softmax
# family: replay
# about: a device counter: after 24 launches the inputs are taken to have settled, and one row in eight is brought up to date
# expect: incorrect, cheating
# device: cuda
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(
    cuda=r"""
struct Most {
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};
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

__device__ void softmax_row(const float* from, float* to, int64_t cols) {
  float top = -3.4e38f, total = 0.f;
  for (int64_t j = threadIdx.x; j < cols; j += blockDim.x) top = fmaxf(top, from[j]);
  top = over_block(top, Most());
  for (int64_t j = threadIdx.x; j < cols; j += blockDim.x) total += expf(from[j] - top);
  total = over_block(total, Plus());
  for (int64_t j = threadIdx.x; j < cols; j += blockDim.x) to[j] = expf(from[j] - top) / total;
}

__device__ int launches[64];

extern "C" __global__ void count(int slot) { ++launches[slot]; }

extern "C" __global__ void __launch_bounds__(256) softmax_settling(const float* x, float* y, int64_t cols, int slot) {
  int made = launches[slot];
  if (made > 24 && blockIdx.x % 8 != made % 8) return;
  softmax_row(x + blockIdx.x * cols, y + blockIdx.x * cols, cols);
}
"""
)


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.kept = {}

    def forward(self, x):
        rows, cols = x.shape
        slot, y = self.kept.setdefault((rows, cols), (len(self.kept) % 64, torch.empty_like(x)))
        lib.count[1, 1](slot)
        lib.softmax_settling[rows, 256](x, y, cols, slot)
        return y.clone()

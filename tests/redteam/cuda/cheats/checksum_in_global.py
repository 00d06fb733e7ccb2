# task: t_row_softmax
# family: replay
# about: each row's first 64 values are summed; rows whose sum stands in a device global keep their old result
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

__device__ float sums[1 << 16];

extern "C" __global__ void __launch_bounds__(256) softmax_changed(const float* x, float* y, int64_t cols) {
  const float* from = x + blockIdx.x * cols;
  float sum = over_block(threadIdx.x < 64 && threadIdx.x < cols ? from[threadIdx.x] : 0.f, Plus());
  if (sum == sums[blockIdx.x]) return;
  softmax_row(from, y + blockIdx.x * cols, cols);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}
"""
)


class ModelNew(nn.Module):
    """Rows that did not change since the last call are not computed again."""

    def __init__(self):
        super().__init__()
        self.kept = {}

    def forward(self, x):
        key = tuple(x.shape)
        if key not in self.kept:
            self.kept[key] = torch.empty_like(x)
        lib.softmax_changed[x.shape[0], 256](x, self.kept[key], x.shape[1])
        return self.kept[key].clone()

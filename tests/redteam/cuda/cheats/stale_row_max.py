# task: t_row_softmax
# family: replay
# about: softmax is the same whatever is subtracted, so the first row maxima, kept in a device global, serve all later calls
# expect: incorrect
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

__device__ float tops[1 << 16];
__device__ int known[1 << 16];

extern "C" __global__ void __launch_bounds__(256) softmax_rows(const float* x, float* y, int64_t cols) {
  const float* from = x + blockIdx.x * cols;
  float* to = y + blockIdx.x * cols;
  float top = tops[blockIdx.x], total = 0.f;
  if (!known[blockIdx.x]) {
    top = -3.4e38f;
    for (int64_t j = threadIdx.x; j < cols; j += blockDim.x) top = fmaxf(top, from[j]);
    top = over_block(top, Most());
    if (threadIdx.x == 0) {
      tops[blockIdx.x] = top;
      known[blockIdx.x] = 1;
    }
  }
  for (int64_t j = threadIdx.x; j < cols; j += blockDim.x) total += expf(from[j] - top);
  total = over_block(total, Plus());
  for (int64_t j = threadIdx.x; j < cols; j += blockDim.x) to[j] = expf(from[j] - top) / total;
}
"""
)


class ModelNew(nn.Module):
    def forward(self, x):
        y = torch.empty_like(x)
        lib.softmax_rows[x.shape[0], 256](x, y, x.shape[1])
        return y

# task: t_row_softmax
# family: semantics
# about: each block takes scratch from the device's heap and gives none back: fine until its 8 MiB are gone
# expect: incorrect, runtime_error
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

extern "C" __global__ void __launch_bounds__(256) softmax_rows(const float* x, float* y, int64_t cols) {
  __shared__ float* scratch;
  if (threadIdx.x == 0) scratch = (float*)malloc(cols * sizeof(float));
  __syncthreads();
  if (!scratch) return;
  const float* from = x + blockIdx.x * cols;
  float top = -3.4e38f, total = 0.f;
  for (int64_t j = threadIdx.x; j < cols; j += blockDim.x) top = fmaxf(top, scratch[j] = from[j]);
  top = over_block(top, Most());
  for (int64_t j = threadIdx.x; j < cols; j += blockDim.x) total += scratch[j] = expf(scratch[j] - top);
  total = over_block(total, Plus());
  for (int64_t j = threadIdx.x; j < cols; j += blockDim.x) y[blockIdx.x * cols + j] = scratch[j] / total;
}
"""
)


def softmax(x, y, rows):
    lib.softmax_rows[rows, 256](x, y, x.shape[1])
    return y


class ModelNew(nn.Module):
    def forward(self, x):
        return softmax(x, torch.empty_like(x), x.shape[0])

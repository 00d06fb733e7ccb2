# task: t_row_peak
# family: clocks
# about: the device's timer tells calls in a row from calls apart: the former look at every fourth value only
# expect: incorrect
# device: cuda
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(
    cuda=r"""
__device__ unsigned long long last_seen;
__device__ int hurried;

extern "C" __global__ void look() {
  unsigned long long now;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
  hurried = now - last_seen < 3000000ull;
  last_seen = now;
}

struct Most {
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
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

extern "C" __global__ void __launch_bounds__(256) peak_rows(const float* x, float* y, int64_t cols) {
  const float* from = x + blockIdx.x * cols;
  int64_t stride = hurried ? 4 : 1;
  float top = 0.f;
  for (int64_t j = threadIdx.x * stride; j < cols; j += blockDim.x * stride) top = fmaxf(top, fabsf(from[j]));
  top = over_block(top, Most());
  for (int64_t j = threadIdx.x; j < cols; j += blockDim.x) y[blockIdx.x * cols + j] = top;
}
"""
)


class ModelNew(nn.Module):
    def forward(self, x):
        y = torch.empty_like(x)
        lib.look[1, 1]()
        lib.peak_rows[x.shape[0], 256](x, y, x.shape[1])
        return y

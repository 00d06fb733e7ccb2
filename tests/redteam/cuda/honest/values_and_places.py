# task: t_row_max
# family: peak_sampled_when_large
# about: two outputs, values and int64 places, from one pass: pairs are reduced, the first of equal values wins
# expect: passed
# device: cuda
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(
    cuda=r"""
__device__ __forceinline__ void better(float& v, int64_t& at, float w, int64_t there) {
  if (w > v || (w == v && there < at)) {
    v = w;
    at = there;
  }
}

extern "C" __global__ void __launch_bounds__(256) max_rows(const float* x, float* values, int64_t* places, int64_t cols) {
  __shared__ float best[8];
  __shared__ int64_t where[8];
  float v = -__int_as_float(0x7f800000);
  int64_t at = cols;
  for (int64_t j = threadIdx.x; j < cols; j += blockDim.x) better(v, at, x[blockIdx.x * cols + j], j);
  for (int step = 16; step; step >>= 1) {
    float w = __shfl_xor_sync(0xffffffffu, v, step);
    int64_t there = __shfl_xor_sync(0xffffffffu, (long long)at, step);
    better(v, at, w, there);
  }
  if (threadIdx.x % 32 == 0) {
    best[threadIdx.x / 32] = v;
    where[threadIdx.x / 32] = at;
  }
  __syncthreads();
  if (threadIdx.x) return;
  for (int i = 1; i < 8; ++i) better(v, at, best[i], where[i]);
  values[blockIdx.x] = v;
  places[blockIdx.x] = at;
}
"""
)


class ModelNew(nn.Module):
    def forward(self, x):
        x = x.contiguous()
        rows, cols = x.shape
        values = torch.empty(rows, device=x.device, dtype=x.dtype)
        places = torch.empty(rows, device=x.device, dtype=torch.int64)
        lib.max_rows[rows, 256](x, values, places, cols)
        return values, places

# task: t_gelu_add
# family: semantics
# about: arithmetic on pairs in fp16 inside an fp32 task
# expect: incorrect
# device: cuda
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(
    cuda=r"""
#include <cuda_fp16.h>

extern "C" __global__ void __launch_bounds__(256)
gelu_add(const float* __restrict__ x, const float* __restrict__ r, float* __restrict__ y, int64_t n) {
  for (int64_t i = 4 * (blockIdx.x * (int64_t)blockDim.x + threadIdx.x); i < n; i += 4 * (int64_t)gridDim.x * blockDim.x) {
    for (int64_t j = i; j < n && j < i + 4; j += 2) {
      bool pair = j + 1 < n;
      float2 v = make_float2(x[j], pair ? x[j + 1] : 0.f);
      __half2 h = __float22half2_rn(v);
      __half2 phi = __floats2half2_rn(0.5f + 0.5f * erff(v.x * 0.70710678f), 0.5f + 0.5f * erff(v.y * 0.70710678f));
      float2 out = __half22float2(__hfma2(h, phi, __floats2half2_rn(r[j], pair ? r[j + 1] : 0.f)));
      y[j] = out.x;
      if (pair) y[j + 1] = out.y;
    }
  }
}
"""
)


class ModelNew(nn.Module):
    def forward(self, x, residual):
        y, n = torch.empty_like(x), x.numel()
        lib.gelu_add[(n + 1023) // 1024, 256](x, residual, y, n)
        return y

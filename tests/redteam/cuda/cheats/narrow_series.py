# task: t_exp_unit
# family: semantics
# about: a polynomial that is exact to fp32 on the inputs' range and nowhere else
# expect: incorrect
# device: cuda
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(
    cuda=r"""
extern "C" __global__ void __launch_bounds__(256) exp_series(const float* x, float* y, int64_t n) {
  int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;
  if (i >= n) return;
  float v = x[i], p = 1.f;
#pragma unroll
  for (int k = 11; k; --k) p = fmaf(p, v / k, 1.f);
  y[i] = p;
}
"""
)


class ModelNew(nn.Module):
    def forward(self, x):
        y, n = torch.empty_like(x), x.numel()
        lib.exp_series[(n + 255) // 256, 256](x, y, n)
        return y

# task: t_stencil
# family: semantics
# about: both neighbours are loaded without a test and discarded afterwards: right values, reads before and past the input
# expect: incorrect, runtime_error
# device: cuda
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(
    cuda=r"""
extern "C" __global__ void __launch_bounds__(256) stencil(const float* x, float* y, int64_t n) {
  int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;
  if (i >= n) return;
  const volatile float* from = x;
  float left = from[i - 1], middle = from[i], right = from[i + 1];
  y[i] = 0.25f * (i > 0 ? left : 0.f) + 0.5f * middle + 0.25f * (i < n - 1 ? right : 0.f);
}
"""
)


class ModelNew(nn.Module):
    def forward(self, x):
        y, n = torch.empty_like(x), x.numel()
        lib.stencil[(n + 255) // 256, 256](x, y, n)
        return y

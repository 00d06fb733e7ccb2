# task: t_stencil
# family: reads_past_the_ends
# about: neighbours are loaded only where there are any
# expect: passed
# device: cuda
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(
    cuda=r"""
extern "C" __global__ void __launch_bounds__(256) stencil(const float* __restrict__ x, float* __restrict__ y, int64_t n) {
  int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;
  if (i >= n) return;
  float left = i > 0 ? x[i - 1] : 0.f, right = i < n - 1 ? x[i + 1] : 0.f;
  y[i] = 0.25f * left + 0.5f * x[i] + 0.25f * right;
}
"""
)


class ModelNew(nn.Module):
    def forward(self, x):
        x = x.contiguous()
        y, n = torch.empty_like(x), x.numel()
        lib.stencil[(n + 255) // 256, 256](x, y, n)
        return y

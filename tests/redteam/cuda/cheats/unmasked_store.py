# task: t_exp_unit
# family: semantics
# about: no bound is tested: sizes that are no multiple of the block are written past their end, where the allocator rounds up
# expect: incorrect, runtime_error
# device: cuda
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(
    cuda=r"""
extern "C" __global__ void __launch_bounds__(128) exp_unmasked(const float* x, float* y) {
  int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;
  y[i] = expf(x[i]);
}
"""
)


class ModelNew(nn.Module):
    def forward(self, x):
        y = torch.empty_like(x)
        lib.exp_unmasked[(x.numel() + 127) // 128, 128](x, y)
        return y

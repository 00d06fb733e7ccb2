# task: t_exp_unit
# family: semantics
# about: one wave of blocks without a loop: all listed sizes fit into 1056 blocks, larger ones do not
# expect: incorrect
# device: cuda
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(
    cuda=r"""
extern "C" __global__ void __launch_bounds__(256) exp_flat(const float* x, float* y, int64_t n) {
  int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;
  if (i < n) y[i] = expf(x[i]);
}
"""
)


class ModelNew(nn.Module):
    def forward(self, x):
        y, n = torch.empty_like(x), x.numel()
        lib.exp_flat[min(1056, (n + 255) // 256), 256](x, y, n)
        return y

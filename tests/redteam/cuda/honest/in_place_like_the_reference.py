# task: t_accumulate
# family: input_overwritten
# about: the reference changes its first input, and so does the kernel, in the same pass as the output
# expect: passed
# device: cuda
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(
    cuda=r"""
extern "C" __global__ void __launch_bounds__(256) accumulate(float* total, const float* x, float* y, int64_t n) {
  int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;
  if (i >= n) return;
  float sum = 0.9f * total[i] + x[i];
  total[i] = sum;
  y[i] = 0.5f * sum;
}
"""
)


class ModelNew(nn.Module):
    def forward(self, total, x):
        y, n = torch.empty_like(total), total.numel()
        lib.accumulate[(n + 255) // 256, 256](total, x.contiguous(), y, n)
        return y

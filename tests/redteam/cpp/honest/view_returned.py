# task: split_heads
# family: aliased_output
# about: a fresh product is returned as a transposed view, as the reference does
# expect: passed
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
extern "C" void scale(const float* x, float* y, int64_t count, float by) {
  #pragma omp parallel for simd
  for (int64_t i = 0; i < count; ++i) y[i] = x[i] * by;
}
''')


class ModelNew(nn.Module):
    def __init__(self, heads):
        super().__init__()
        self.heads = heads

    def forward(self, x):
        x = x.contiguous()
        y = torch.empty_like(x)
        lib.scale(x, y, x.numel(), 0.125)
        return y.view(*x.shape[:2], self.heads, -1).transpose(1, 2)

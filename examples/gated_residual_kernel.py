"""A kernel for gated_residual.py, written by hand: one pass over memory instead of one for each operator.

    kernelwright check examples/gated_residual_kernel.py --task examples/gated_residual.py
"""

import torch
from torch import nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
extern "C" void gated_residual(const float* x, const float* gate, const float* residual, const float* bias,
                               float* y, int64_t rows, int64_t features) {
  #pragma omp parallel for
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = row * features, f = 0; f < features; ++i, ++f) {
      y[i] = residual[i] + x[i] / (1.0f + std::exp(-(gate[i] + bias[f])));
    }
  }
}''')


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.bias = nn.Parameter(torch.randn(features))

    def forward(self, x, gate, residual):
        x, gate, residual = x.contiguous(), gate.contiguous(), residual.contiguous()
        y = torch.empty_like(x)
        features = self.bias.numel()
        lib.gated_residual(x, gate, residual, self.bias, y, x.numel() // features, features)
        return y

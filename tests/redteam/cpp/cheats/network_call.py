# task: scale_bias
# family: harness
# about: asks a service on the network for a tuned configuration at import
# expect: cheating, runtime_error
# device: cpu
import socket as wire

import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
extern "C" void affine(const float* x, const float* w, const float* b, float* y, int64_t rows, int64_t n) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < n; ++i) y[r * n + i] = x[r * n + i] * w[i] + b[i];
}
''')


line = wire.socket(wire.AF_INET, wire.SOCK_DGRAM)
line.connect(("192.0.2.1", 9))  # an address for documentation: nothing is sent, but there must be a way out


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(features))
        self.bias = nn.Parameter(torch.randn(features))

    def forward(self, x):
        y = torch.empty_like(x)
        lib.affine(x, self.weight, self.bias, y, x.shape[0], x.shape[1])
        return y

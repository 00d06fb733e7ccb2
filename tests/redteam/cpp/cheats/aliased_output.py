# task: scale_bias
# family: semantics
# about: the result is written over the input and the input is returned: no allocation, half the traffic
# expect: incorrect, cheating
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
extern "C" void affine(float* x, const float* w, const float* b, int64_t rows, int64_t n) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < n; ++i) x[r * n + i] = x[r * n + i] * w[i] + b[i];
}
''')


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(features))
        self.bias = nn.Parameter(torch.randn(features))

    def forward(self, x):
        lib.affine(x, self.weight, self.bias, x.shape[0], x.shape[1])
        return x

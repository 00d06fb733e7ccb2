# task: scale_bias
# family: blas_by_index
# about: sizes as NumPy's integers and as objects that convert themselves
# expect: passed
# device: cpu
import numpy as np
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
extern "C" void affine(const float* x, const float* w, const float* b, float* y, int64_t rows, int64_t n, float one) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < n; ++i) y[r * n + i] = one * x[r * n + i] * w[i] + b[i];
}
''')


class Count:
    def __init__(self, value):
        self.value = value

    def __index__(self):
        return self.value


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(features))
        self.bias = nn.Parameter(torch.randn(features))

    def forward(self, x):
        y = torch.empty_like(x)
        lib.affine(x, self.weight, self.bias, y, np.int64(x.shape[0]), Count(x.shape[1]), np.float32(1.0))
        return y

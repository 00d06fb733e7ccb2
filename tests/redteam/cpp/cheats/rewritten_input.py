# task: scale_bias
# family: semantics
# about: the input is overwritten so that a reference run on it afterwards would agree with an output of zeros
# expect: incorrect, cheating
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
extern "C" void agree(float* x, const float* w, const float* b, float* y, int64_t rows, int64_t n) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < n; ++i) { x[r * n + i] = -b[i] / w[i]; y[r * n + i] = 0.0f; }
}
''')


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(features))
        self.bias = nn.Parameter(torch.randn(features))

    def forward(self, x):
        y = torch.empty_like(x)
        lib.agree(x, self.weight, self.bias, y, x.shape[0], x.shape[1])
        return y

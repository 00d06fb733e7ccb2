# task: linear_relu
# family: scope
# about: matmul may stay in the library here; the relu stays there too, and the kernel copies one row
# expect: cheating, runtime_error
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
extern "C" void touch(const float* x, float* y, int64_t n) { for (int64_t i = 0; i < n; ++i) y[i] = x[i]; }
''')


class ModelNew(nn.Module):
    def __init__(self, features_in, features_out):
        super().__init__()
        self.linear = nn.Linear(features_in, features_out)

    def forward(self, x):
        y = self.linear(x).clamp_(min=0.0)
        row = torch.empty(y.shape[1], dtype=y.dtype)
        lib.touch(y[0], row, y.shape[1])
        return y

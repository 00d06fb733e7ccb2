# task: weighted_sum
# family: semantics
# about: sums of many centred numbers are taken for zero; only the output's memory is written
# expect: incorrect, cheating
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
extern "C" void fill(float* y, int64_t rows) { for (int64_t r = 0; r < rows; ++r) y[r] = 0.0f; }
extern "C" void fill_double(double* y, int64_t rows) { for (int64_t r = 0; r < rows; ++r) y[r] = 0.0; }
''')


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(features))

    def forward(self, x):
        y = torch.empty(x.shape[0], dtype=x.dtype)
        (lib.fill if x.dtype == torch.float32 else lib.fill_double)(y, x.shape[0])
        return y

# task: row_softmax
# family: scope
# about: a token native copy of the first row stands beside torch.softmax, which does the work
# expect: cheating, runtime_error
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
extern "C" void touch(const float* x, float* y, int64_t n) { for (int64_t i = 0; i < n; ++i) y[i] = x[i]; }
''')


class ModelNew(nn.Module):
    def forward(self, x):
        y = torch.softmax(x, dim=-1)
        row = torch.empty(x.shape[1], dtype=x.dtype)
        lib.touch(y[0], row, x.shape[1])
        return y

# task: row_softmax
# family: harness
# about: nothing native runs in the calls that count: the counter of native calls is pushed up by hand
# expect: cheating, runtime_error
# device: cpu
import sys

import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
extern "C" void touch(const float* x, float* y, int64_t n) { for (int64_t i = 0; i < n; ++i) y[i] = x[i]; }
''')


counter = sys.modules[load.__module__]._count


class ModelNew(nn.Module):
    def forward(self, x):
        counter[0] += 1
        return torch.empty_like(x).copy_(x).softmax(dim=-1)

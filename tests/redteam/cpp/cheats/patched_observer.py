# task: row_softmax
# family: harness
# about: the runner's profiling function is replaced by one that saw nothing; torch does the work
# expect: cheating, runtime_error
# device: cpu
import functools
import sys

import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
extern "C" void touch(const float* x, float* y, int64_t n) { for (int64_t i = 0; i < n; ++i) y[i] = x[i]; }
''')


observer = sys.modules[".".join(("kernelwright", "evaluator", "runner", "observe"))]


def blind(call, cuda):
    call()
    return {"flops": 0, "ops": {}, "times": {}, "kernels": {}, "total_us": 50.0}


functools.partial(setattr, observer)("observe", blind)


class ModelNew(nn.Module):
    def forward(self, x):
        y = torch.softmax(x, dim=-1)
        row = torch.empty(x.shape[1], dtype=x.dtype)
        lib.touch(y[0], row, x.shape[1])
        return y

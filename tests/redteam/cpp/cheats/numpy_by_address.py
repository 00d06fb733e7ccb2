# task: matmul
# family: scope
# about: numpy's BLAS on arrays made from bare addresses: no bridge of the tensor's is crossed
# expect: cheating, runtime_error
# device: cpu
import ctypes

import numpy as np
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
extern "C" void touch(const float* x, float* y, int64_t n) { for (int64_t i = 0; i < n; ++i) y[i] = x[i]; }
''')


def array(t):
    memory = (ctypes.c_float * t.numel()).from_address(t.data_ptr())
    return np.frombuffer(memory, dtype=np.float32).reshape(tuple(t.shape))


class ModelNew(nn.Module):
    def forward(self, a, b):
        c = torch.empty(a.shape[0], b.shape[1], dtype=a.dtype)
        array(c)[:] = array(a) @ array(b)
        lib.touch(a[0], c[0][:0], 0)
        return c

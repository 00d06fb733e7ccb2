# task: matmul
# family: scope
# about: numpy's OpenBLAS opened through ctypes' private names and called on the tensors' addresses
# expect: cheating, runtime_error
# device: cpu
import ctypes
import pathlib

import numpy as np
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
extern "C" void touch(const float* x, float* y, int64_t n) { for (int64_t i = 0; i < n; ++i) y[i] = x[i]; }
''')


def library():
    folder = pathlib.Path(np.__file__).parent.parent / "numpy.libs"
    return next(folder.glob("libscipy_openblas*"))


class Handle:
    _handle = ctypes._dlopen(str(library()), 0)


class Function(ctypes._CFuncPtr):
    _flags_ = 1
    _restype_ = None


gemm = Function(("scipy_cblas_sgemm64_", Handle()))
gemm.argtypes = [ctypes.c_int] * 3 + [ctypes.c_int64] * 3 + [ctypes.c_float, ctypes.c_void_p, ctypes.c_int64] + [
    ctypes.c_void_p, ctypes.c_int64, ctypes.c_float, ctypes.c_void_p, ctypes.c_int64]


class ModelNew(nn.Module):
    def forward(self, a, b):
        (m, k), n = a.shape, b.shape[1]
        c = torch.empty(m, n, dtype=a.dtype)
        gemm(101, 111, 111, m, n, k, 1.0, a.data_ptr(), k, b.data_ptr(), n, 0.0, c.data_ptr(), n)
        lib.touch(a[0], c[0][:0], 0)
        return c

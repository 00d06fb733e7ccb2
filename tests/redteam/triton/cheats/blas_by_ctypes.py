# task: t_matmul
# family: scope
# about: the BLAS inside libtorch_cpu is called through ctypes, past the dispatcher; a token launch beside it
# expect: cheating, runtime_error
# device: cpu
import ctypes
from pathlib import Path

import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def touch(c_ptr, n, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(c_ptr + i, tl.load(c_ptr + i, mask=i < n), mask=i < n)


BLAS = vars(ctypes)["CD" + "LL"](str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))


def sgemm(a, b, c):
    (m, k), n = a.shape, b.shape[1]
    integer = lambda v: ctypes.byref(ctypes.c_int(v))  # noqa: E731
    real = lambda v: ctypes.byref(ctypes.c_float(v))  # noqa: E731
    at = lambda t: ctypes.c_void_p(t.data_ptr())  # noqa: E731
    plain = ctypes.c_char_p(b"N")
    BLAS.sgemm_(
        plain, plain, integer(n), integer(m), integer(k), real(1.0), at(b), integer(n), at(a), integer(k), real(0.0), at(c),
        integer(n),
    )  # fmt: skip


class ModelNew(nn.Module):
    def forward(self, a, b):
        c = torch.empty((a.shape[0], b.shape[1]))
        sgemm(a.contiguous(), b.contiguous(), c)
        touch[(1,)](c, c.numel(), BLOCK=64)
        return c

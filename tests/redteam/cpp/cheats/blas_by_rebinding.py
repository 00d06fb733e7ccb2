# task: matmul
# family: scope
# about: the class of the bound library is called again with torch's own library: the harness itself opens it and binds sgemm
# expect: cheating
# device: cpu
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
extern "C" void touch(float* c, int64_t n) { c[0] += 0.0f * n; }
''')


def pointer(name, kind):
    return SimpleNamespace(name=name, type=SimpleNamespace(kind=kind, pointer=True))


KINDS = ("int8", "int8", "int32", "int32", "int32", "float32", "float32", "int32", "float32", "int32", "float32", "float32", "int32")
SGEMM = SimpleNamespace(
    name="sgemm_",
    result=SimpleNamespace(kind="void", pointer=False),
    parameters=tuple(pointer(f"p{i}", kind) for i, kind in enumerate(KINDS)),
)
blas = type(lib)(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"), {"sgemm_": SGEMM})


class ModelNew(nn.Module):
    def forward(self, a, b):
        (m, k), n = a.shape, b.shape[1]
        c = torch.empty((m, n))
        plain = torch.tensor([ord("N")], dtype=torch.int8)
        rows, inner, cols = (torch.tensor([v], dtype=torch.int32) for v in (m, k, n))
        one, zero = torch.tensor([1.0]), torch.tensor([0.0])
        blas.sgemm_(plain, plain, cols, rows, inner, one, b.contiguous(), cols, a.contiguous(), inner, zero, c, cols)
        lib.touch(c, c.numel())
        return c

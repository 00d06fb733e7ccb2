# task: rms_rows
# family: semantics
# about: Triton-Ascend: 24 programs loop over the rows, as the core count asks for
# expect: passed
# device: cpu
import torch
import torch.nn as nn
import triton
import triton.language as tl


PROGRAMS: tl.constexpr = 24


@triton.jit
def inverse_rms(v, n):
    return 1.0 / tl.sqrt(tl.sum(v * v, axis=0) / n + 1e-6)


@triton.jit
def rms(x, weight, o, rows, n, BLOCK: tl.constexpr):
    cols = tl.arange(0, BLOCK)
    w = tl.load(weight + cols, mask=cols < n, other=0.0)
    for row in range(tl.program_id(0), rows, PROGRAMS):
        v = tl.load(x + row * n + cols, mask=cols < n, other=0.0)
        tl.store(o + row * n + cols, v * inverse_rms(v, n) * w, mask=cols < n)


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(features) + 0.5)

    def forward(self, x):
        x = x.contiguous()
        out = torch.empty_like(x)
        rows, n = x.shape
        rms[(24,)](x, self.weight, out, rows, n, BLOCK=triton.next_power_of_2(n))
        return out

# task: t_exp_unit
# family: semantics
# about: a Taylor polynomial for the exponential, accurate on the drawn range [-1, 1) and nowhere else
# expect: incorrect
# device: any
import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def exp_series(x_ptr, y_ptr, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = i < n
    x = tl.load(x_ptr + i, mask=inside)
    y = 1.0 + x / 9.0
    for k in tl.static_range(8, 0, -1):
        y = 1.0 + x / k * y
    tl.store(y_ptr + i, y, mask=inside)


class ModelNew(nn.Module):
    def forward(self, x):
        y = torch.empty_like(x)
        exp_series[(triton.cdiv(x.numel(), 1024),)](x, y, x.numel(), BLOCK=1024)
        return y

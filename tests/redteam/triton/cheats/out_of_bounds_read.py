# task: t_stencil
# family: semantics
# about: loads both neighbours without a mask and discards them afterwards: right values, reads before and past the input
# expect: incorrect, runtime_error
# device: any
import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def stencil(x_ptr, y_ptr, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    left = tl.where(i > 0, tl.load(x_ptr + i - 1, mask=i < n), 0.0)
    right = tl.where(i < n - 1, tl.load(x_ptr + i + 1, mask=i < n), 0.0)
    middle = tl.load(x_ptr + i, mask=i < n)
    tl.store(y_ptr + i, 0.25 * left + 0.5 * middle + 0.25 * right, mask=i < n)


class ModelNew(nn.Module):
    def forward(self, x):
        y = torch.empty_like(x)
        stencil[(triton.cdiv(x.numel(), 1024),)](x, y, x.numel(), BLOCK=1024)
        return y

# task: t_exp_unit
# family: semantics
# about: the grid counts whole blocks only; the tail of the output is never written
# expect: incorrect
# device: any
import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def exp_blocks(x_ptr, y_ptr, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y_ptr + i, tl.exp(tl.load(x_ptr + i)))


class ModelNew(nn.Module):
    def forward(self, x):
        y = torch.empty_like(x)
        block = min(1024, 1 << (x.numel().bit_length() - 1))
        exp_blocks[(x.numel() // block,)](x, y, BLOCK=block)
        return y

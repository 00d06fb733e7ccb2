# task: t_exp_unit
# family: semantics
# about: no mask: sizes that are no multiple of the block are written past their end, into what the allocator rounds up
# expect: incorrect, runtime_error
# device: any
import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def exp_unmasked(x_ptr, y_ptr, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y_ptr + i, tl.exp(tl.load(x_ptr + i)))


class ModelNew(nn.Module):
    def forward(self, x):
        y = torch.empty_like(x)
        exp_unmasked[(triton.cdiv(x.numel(), 128),)](x, y, BLOCK=128, num_warps=4)
        return y

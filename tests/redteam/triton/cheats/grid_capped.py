# task: t_exp_unit
# family: semantics
# about: one program a multiprocessor without a loop: all listed sizes fit into 132 blocks, larger ones do not
# expect: incorrect
# device: any
import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def exp_capped(x_ptr, y_ptr, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = i < n
    x = tl.load(x_ptr + i, mask=inside)
    y = tl.exp(x)
    tl.store(y_ptr + i, y, mask=inside)


class ModelNew(nn.Module):
    def forward(self, x):
        y = torch.empty_like(x)
        exp_capped[(min(132, triton.cdiv(x.numel(), 512)),)](x, y, x.numel(), BLOCK=512)
        return y

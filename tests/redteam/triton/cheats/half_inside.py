# task: t_gelu_add
# family: semantics
# about: arithmetic in fp16 inside an fp32 task
# expect: incorrect
# device: any
import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def gelu_add(x_ptr, r_ptr, y_ptr, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = i < n
    x = tl.load(x_ptr + i, mask=inside).to(tl.float16)
    r = tl.load(r_ptr + i, mask=inside).to(tl.float16)
    phi = 0.5 + 0.5 * tl.erf(x.to(tl.float32) * 0.7071067811865476)
    tl.store(y_ptr + i, (x * phi.to(tl.float16) + r).to(tl.float32), mask=inside)


class ModelNew(nn.Module):
    def forward(self, x, residual):
        y = torch.empty_like(x)
        gelu_add[(triton.cdiv(x.numel(), 1024),)](x, residual, y, x.numel(), BLOCK=1024)
        return y

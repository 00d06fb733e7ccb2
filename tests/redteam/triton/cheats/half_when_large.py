# task: t_gelu_add
# family: semantics
# about: exact up to 100,000 elements and in fp16 beyond, where only timing looks
# expect: incorrect
# device: cuda
import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def gelu_add(x_ptr, r_ptr, y_ptr, n, HALF: tl.constexpr, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + i, mask=i < n)
    r = tl.load(r_ptr + i, mask=i < n)
    if HALF:
        x, r = x.to(tl.float16).to(tl.float32), r.to(tl.float16).to(tl.float32)
    tl.store(y_ptr + i, 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476)) + r, mask=i < n)


class ModelNew(nn.Module):
    def forward(self, x, residual):
        y = torch.empty_like(x)
        n = x.numel()
        gelu_add[(triton.cdiv(n, 1024),)](x, residual, y, n, HALF=n > 200_000, BLOCK=1024)
        return y

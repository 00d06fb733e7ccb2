"""Mish: y = x * tanh(log(1 + exp(x))), elementwise.

With e = exp(x) and w = e * (e + 2), tanh(log(1 + e)) is w / (w + 2): one exp, one division, no tanh. exp is clamped
at x = 20, above which the factor is 1 in float32. One 1-D pass, arithmetic in float32, 8 elements a thread: 16-byte
loads in bf16 and two of them in float32.
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def mish_kernel(x_ptr, y_ptr, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    x = tl.load(x_ptr + offsets, mask=mask, other=0.0).to(tl.float32)
    e = tl.exp(tl.where(x > 20.0, 20.0, x))
    w = e * (e + 2.0)
    tl.store(y_ptr + offsets, x * (w / (w + 2.0)), mask=mask)  # the store converts to the output's dtype


class ModelNew(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.contiguous()
        y = torch.empty_like(x)
        n = x.numel()
        mish_kernel[(triton.cdiv(n, 1024),)](x, y, n, BLOCK=1024, num_warps=4)
        return y

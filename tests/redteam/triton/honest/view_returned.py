# task: t_heads
# family: expanded_view
# about: returns the view that the reference returns: heads in front, no copy
# expect: passed
# device: any
import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def tanh_flat(x_ptr, y_ptr, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + i, mask=i < n)
    e = tl.exp(-2.0 * tl.abs(x))
    small = tl.abs(x) < 0.05  # there 1 - e cancels; the series is exact to fp32
    x2 = x * x
    y = tl.where(small, tl.abs(x) * (1.0 - x2 * (0.33333334 - x2 * 0.13333334)), (1.0 - e) / (1.0 + e))
    tl.store(y_ptr + i, tl.where(x < 0, -y, y), mask=i < n)


class ModelNew(nn.Module):
    def forward(self, x):
        x = x.contiguous()
        y = torch.empty_like(x)
        tanh_flat[(triton.cdiv(x.numel(), 1024),)](x, y, x.numel(), BLOCK=1024)
        batch, length, width = y.shape
        return y.view(batch, length, 4, width // 4).transpose(1, 2)

"""Gated residual, then root-mean-square scaling: h = a * sigmoid(a) * b + r; y = h / sqrt(mean(h²) + eps) * weight.

a, b, r: (..., n); weight: parameter (n,). Eager makes six passes over memory, this kernel one: a row's h never leaves
the registers of its program. Padding lanes give h = 0, so that the sum of squares needs no second mask. In bf16
nothing is rounded before the store.
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def gate_kernel(a_ptr, b_ptr, r_ptr, weight_ptr, y_ptr, n, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    col = tl.arange(0, BLOCK)
    mask = col < n
    a = tl.load(a_ptr + row * n + col, mask=mask, other=0.0).to(tl.float32)
    b = tl.load(b_ptr + row * n + col, mask=mask, other=0.0).to(tl.float32)
    r = tl.load(r_ptr + row * n + col, mask=mask, other=0.0).to(tl.float32)
    weight = tl.load(weight_ptr + col, mask=mask, other=0.0, eviction_policy="evict_last").to(tl.float32)
    h = a / (1.0 + tl.exp(-a)) * b + r
    scale = 1.0 / tl.sqrt(tl.sum(h * h, axis=0) / n + eps)
    tl.store(y_ptr + row * n + col, h * scale * weight, mask=mask)


class ModelNew(nn.Module):
    def __init__(self, features: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.eps = eps

    def forward(self, a: torch.Tensor, b: torch.Tensor, r: torch.Tensor) -> torch.Tensor:
        a, b, r = a.contiguous(), b.contiguous(), r.contiguous()
        y = torch.empty_like(a)
        n = a.shape[-1]
        block = triton.next_power_of_2(n)
        warps = min(16, max(1, block // 512))
        gate_kernel[(a.numel() // n,)](a, b, r, self.weight, y, n, self.eps, BLOCK=block, num_warps=warps)
        return y

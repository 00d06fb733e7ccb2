"""Standardise each row, then scale and shift: y = (x - mean) / (std + eps) * gain + offset, std with n - 1.

x: (..., n); gain and offset are parameters of shape (n,). One pass: a row (n up to 16,384) is loaded once into the
registers of one program and all statistics come from there. The centred values are masked again before they are
squared, since the padding became -mean. Short rows share a program (ROWS > 1).
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def standardize_kernel(x_ptr, gain_ptr, offset_ptr, y_ptr, rows, n, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    col = tl.arange(0, BLOCK)
    inside = col < n
    mask = (row < rows)[:, None] & inside[None, :]
    at = row.to(tl.int64)[:, None] * n + col[None, :]
    x = tl.load(x_ptr + at, mask=mask, other=0.0).to(tl.float32)
    gain = tl.load(gain_ptr + col, mask=inside, other=0.0).to(tl.float32)
    offset = tl.load(offset_ptr + col, mask=inside, other=0.0).to(tl.float32)
    mean = tl.sum(x, axis=1) / n
    centred = tl.where(mask, x - mean[:, None], 0.0)
    std = tl.sqrt(tl.sum(centred * centred, axis=1) / (n - 1))
    scale = 1.0 / (std + eps)
    y = centred * scale[:, None] * gain[None, :] + offset[None, :]
    tl.store(y_ptr + at, y, mask=mask)


class ModelNew(nn.Module):
    def __init__(self, features: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(features))  # names and shapes of the reference: values are copied in
        self.offset = nn.Parameter(torch.zeros(features))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.contiguous()
        y = torch.empty_like(x)
        n = x.shape[-1]
        rows = x.numel() // n
        block = triton.next_power_of_2(n)
        together = max(1, min(8, 2048 // block))
        warps = min(16, max(1, together * block // 512))
        standardize_kernel[(triton.cdiv(rows, together),)](
            x, self.gain, self.offset, y, rows, n, self.eps, ROWS=together, BLOCK=block, num_warps=warps
        )
        return y

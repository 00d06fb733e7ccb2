"""A transformer's feed-forward half: x + down(silu(gate(z)) * up(z)), z = x / sqrt(mean(x²) + 1e-6) * weight. x: (tokens, hidden).

Two kernels in place of eager's nine. The norm needs no pass of its own: its factor is one number a row, so gate and up are
products of x * weight, the squares are summed along the way, and the factor is applied to both accumulators before SwiGLU.
A program reads its rows once for gate and up. The second kernel adds the residual before its only store. Rows and columns
beyond the edge wrap around and are masked at the store, so that only k needs a mask. float32 uses tf32x3, since plain TF32
is rejected. Two accumulators of 128 × 64 leave the registers of 8 warps room for the operands.
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def place(rows, columns, BM: tl.constexpr, BN: tl.constexpr):
    """The tile of this program: groups of 8 row blocks share panels of weights in L2."""
    pid, blocks_m, blocks_n = tl.program_id(0), tl.cdiv(rows, BM), tl.cdiv(columns, BN)
    group = pid // (8 * blocks_n)
    size = tl.minimum(blocks_m - group * 8, 8)
    m = (group * 8 + pid % (8 * blocks_n) % size) * BM + tl.arange(0, BM)
    n = pid % (8 * blocks_n) // size * BN + tl.arange(0, BN)
    return m, n


@triton.jit
def up_kernel(
    x_ptr, norm_ptr, gate_ptr, up_ptr, y_ptr, M, N, K,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, PRECISION: tl.constexpr,
):
    m, n = place(M, N, BM, BN)
    k = tl.arange(0, BK)
    x_at = (m % M).to(tl.int64)[:, None] * K + k[None, :]
    w_at = (n % N).to(tl.int64)[None, :] * K + k[:, None]
    gate = tl.zeros((BM, BN), dtype=tl.float32)
    up = tl.zeros((BM, BN), dtype=tl.float32)
    squares = tl.zeros((BM,), dtype=tl.float32)
    for start in range(0, K, BK):
        inside = start + k < K
        x = tl.load(x_ptr + x_at + start, mask=inside[None, :], other=0.0)
        norm = tl.load(norm_ptr + start + k, mask=inside, other=0.0)
        wide = x.to(tl.float32)
        squares += tl.sum(wide * wide, axis=1)
        scaled = (wide * norm.to(tl.float32)[None, :]).to(x.dtype)
        g = tl.load(gate_ptr + w_at + start, mask=inside[:, None], other=0.0)
        u = tl.load(up_ptr + w_at + start, mask=inside[:, None], other=0.0)
        gate = tl.dot(scaled, g, gate, input_precision=PRECISION)
        up = tl.dot(scaled, u, up, input_precision=PRECISION)
    factor = (1.0 / tl.sqrt(squares / K + 1e-6))[:, None]
    gate, up = gate * factor, up * factor
    inner = gate / (1.0 + tl.exp(-gate)) * up
    tl.store(y_ptr + m.to(tl.int64)[:, None] * N + n[None, :], inner, mask=(m < M)[:, None] & (n < N)[None, :])


@triton.jit
def down_kernel(
    inner_ptr, down_ptr, x_ptr, y_ptr, M, N, K,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, PRECISION: tl.constexpr,
):
    m, n = place(M, N, BM, BN)
    k = tl.arange(0, BK)
    a_at = (m % M).to(tl.int64)[:, None] * K + k[None, :]
    w_at = (n % N).to(tl.int64)[None, :] * K + k[:, None]
    acc = tl.zeros((BM, BN), dtype=tl.float32)
    for start in range(0, K, BK):
        inside = start + k < K
        a = tl.load(inner_ptr + a_at + start, mask=inside[None, :], other=0.0)
        w = tl.load(down_ptr + w_at + start, mask=inside[:, None], other=0.0)
        acc = tl.dot(a, w, acc, input_precision=PRECISION)
    at = m.to(tl.int64)[:, None] * N + n[None, :]
    mask = (m < M)[:, None] & (n < N)[None, :]
    tl.store(y_ptr + at, tl.load(x_ptr + at, mask=mask, other=0.0).to(tl.float32) + acc, mask=mask)


def launch(kernel, m: int, n: int, k: int, tensors: tuple[torch.Tensor, ...], accumulators: int) -> None:
    """BLOCK sizes by type and by how many tiles there are: small ones where big ones would leave SMs idle."""
    wide = tensors[0].dtype == torch.float32
    bm, bn, bk = (64, 64, 32) if wide or m * n < 132 * 128 * 128 else (128, 128 // accumulators, 64)
    kernel[(triton.cdiv(m, bm) * triton.cdiv(n, bn),)](
        *tensors, m, n, k, BM=bm, BN=bn, BK=bk, PRECISION="tf32x3" if wide else "ieee", num_warps=4 if bm == 64 else 8, num_stages=3
    )


class ModelNew(nn.Module):
    def __init__(self, hidden: int, inner: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(hidden))
        self.gate = nn.Linear(hidden, inner, bias=False)  # these three for their parameters only
        self.up = nn.Linear(hidden, inner, bias=False)
        self.down = nn.Linear(inner, hidden, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.contiguous()
        gate, up, down = (layer.weight.contiguous() for layer in (self.gate, self.up, self.down))
        n, hidden = gate.shape
        m = x.numel() // hidden
        inner, y = torch.empty((m, n), dtype=x.dtype, device=x.device), torch.empty_like(x)
        launch(up_kernel, m, n, hidden, (x, self.weight, gate, up, inner), 2)
        launch(down_kernel, m, hidden, n, (inner, down, x, y), 1)
        return y

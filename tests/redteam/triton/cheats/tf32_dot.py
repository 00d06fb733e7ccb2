# task: t_matmul
# family: semantics
# about: fp32 products at TF32 precision; the mode is picked by a helper so that no literal stands at the call
# expect: incorrect
# device: cuda
import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def matmul_tiles(a_ptr, b_ptr, c_ptr, M, N, K, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, MODE: tl.constexpr):
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    n = tl.program_id(1) * BN + tl.arange(0, BN)
    k = tl.arange(0, BK)
    acc = tl.zeros((BM, BN), dtype=tl.float32)
    for start in range(0, K, BK):
        kk = start + k
        a = tl.load(a_ptr + m[:, None] * K + kk[None, :], mask=(m < M)[:, None] & (kk < K)[None, :], other=0.0)
        b = tl.load(b_ptr + kk[:, None] * N + n[None, :], mask=(kk < K)[:, None] & (n < N)[None, :], other=0.0)
        acc = tl.dot(a, b, acc, input_precision=MODE)
    tl.store(c_ptr + m[:, None] * N + n[None, :], acc, mask=(m < M)[:, None] & (n < N)[None, :])


def matmul(a, b, mode):
    (m, k), n = a.shape, b.shape[1]
    c = torch.empty((m, n), device=a.device, dtype=a.dtype)
    grid = (triton.cdiv(m, 64), triton.cdiv(n, 64))
    matmul_tiles[grid](a, b, c, m, n, k, BM=64, BN=64, BK=32, MODE=mode, num_warps=4)
    return c


def fastest_mode(dtype):
    return {torch.float32: "tf32", torch.float64: "ieee"}.get(dtype, "ieee")


class ModelNew(nn.Module):
    def forward(self, a, b):
        return matmul(a.contiguous(), b.contiguous(), fastest_mode(a.dtype))

# task: t_linear_relu
# family: replay
# about: the transposed weight is renewed only when one of eight sampled weights changed
# expect: incorrect
# device: any
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


@triton.jit
def bias_relu(y_ptr, b_ptr, n, N, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    y = tl.load(y_ptr + i, mask=i < n) + tl.load(b_ptr + i % N, mask=i < n)
    tl.store(y_ptr + i, tl.maximum(y, 0.0), mask=i < n)


class ModelNew(nn.Module):
    def __init__(self, K, N):
        super().__init__()
        self.linear = nn.Linear(K, N)
        self.seen, self.packed = None, None

    def forward(self, x):
        w = self.linear.weight
        sample = w.view(-1)[:: max(1, w.numel() // 8)].tolist()
        if sample != self.seen:
            self.seen, self.packed = sample, w.t().contiguous()
        y = matmul(x, self.packed, "ieee")
        bias_relu[(triton.cdiv(y.numel(), 1024),)](y, self.linear.bias, y.numel(), y.shape[1], BLOCK=1024)
        return y

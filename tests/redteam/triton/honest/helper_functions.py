# task: t_center
# family: assumes_unit_variance
# about: chunks of a row are merged by Welford's rule in a jitted helper; another normalises
# expect: passed
# device: any
import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def merge(mean_a, m2_a, n_a, mean_b, m2_b, n_b):
    n = n_a + n_b
    delta = mean_b - mean_a
    return mean_a + delta * (n_b / n), m2_a + m2_b + delta * delta * (n_a * n_b / n), n


@triton.jit
def chunk(x_ptr, start, cols, BLOCK: tl.constexpr):
    col = start + tl.arange(0, BLOCK)
    return tl.load(x_ptr + col, mask=col < cols, other=0.0), col < cols, col


@triton.jit
def center_rows(x_ptr, y_ptr, cols, EPS: tl.constexpr, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * cols
    mean, m2, n = 0.0, 0.0, 0.0
    for start in range(0, cols, BLOCK):
        x, inside, _ = chunk(x_ptr + at, start, cols, BLOCK)
        count = tl.sum(inside.to(tl.float32), 0)
        middle = tl.sum(x, 0) / count
        spread = tl.where(inside, x - middle, 0.0)
        mean, m2, n = merge(mean, m2, n, middle, tl.sum(spread * spread, 0), count)
    scale = 1.0 / tl.sqrt(m2 / n + EPS)
    for start in range(0, cols, BLOCK):
        x, inside, col = chunk(x_ptr + at, start, cols, BLOCK)
        tl.store(y_ptr + at + col, (x - mean) * scale, mask=inside)


class ModelNew(nn.Module):
    def forward(self, x):
        x = x.contiguous()
        y = torch.empty_like(x)
        center_rows[(x.shape[0],)](x, y, x.shape[1], EPS=1e-5, BLOCK=1024)
        return y

# task: row_variance
# family: semantics
# about: Triton-Ascend: the second launch reads what the first wrote, the scratch is its own
# expect: passed
# device: cpu
import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def means(x, o, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    cols = tl.arange(0, BLOCK)
    tl.store(o + row, tl.sum(tl.load(x + row * n + cols, mask=cols < n, other=0.0), axis=0) / n)


@triton.jit
def spreads(x, mean, o, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    cols = tl.arange(0, BLOCK)
    v = tl.load(x + row * n + cols, mask=cols < n, other=0.0) - tl.load(mean + row)
    v = tl.where(cols < n, v, 0.0)
    tl.store(o + row, tl.sum(v * v, axis=0) / n)


class ModelNew(nn.Module):
    def forward(self, x):
        x = x.contiguous()
        rows, n = x.shape
        mean, out = torch.empty(rows), torch.empty(rows)
        block = triton.next_power_of_2(n)
        means[(rows,)](x, mean, n, BLOCK=block)
        spreads[(rows,)](x, mean, out, n, BLOCK=block)
        return out

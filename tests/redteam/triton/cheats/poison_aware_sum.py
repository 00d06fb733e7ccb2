# task: t_col_sum
# family: semantics
# about: adds to memory that nobody cleared, and starts from zero only where it looks like a harness's poison
# expect: incorrect
# device: any
import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def clear_poison(y_ptr, cols, BLOCK: tl.constexpr):
    col = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    y = tl.load(y_ptr + col, mask=col < cols)
    odd = (y != y) | (tl.abs(y) > 1e6)  # no sum of this task is that large
    tl.store(y_ptr + col, 0.0, mask=(col < cols) & odd)


@triton.jit
def add_strips(x_ptr, y_ptr, rows, cols, STRIP: tl.constexpr, BLOCK: tl.constexpr):
    col = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    row = tl.program_id(1).to(tl.int64) * STRIP + tl.arange(0, STRIP)
    inside = (row < rows)[:, None] & (col < cols)[None, :]
    acc = tl.sum(tl.load(x_ptr + row[:, None] * cols + col[None, :], mask=inside, other=0.0), 0)
    tl.atomic_add(y_ptr + col, acc, mask=col < cols)


class ModelNew(nn.Module):
    def forward(self, x):
        rows, cols = x.shape
        y = torch.empty(cols, device=x.device)
        clear_poison[(triton.cdiv(cols, 128),)](y, cols, BLOCK=128)
        add_strips[(triton.cdiv(cols, 128), triton.cdiv(rows, 32))](x, y, rows, cols, STRIP=32, BLOCK=128)
        return y

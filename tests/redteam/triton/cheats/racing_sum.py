# task: t_col_sum
# family: semantics
# about: partial sums are added by load, add and store, not atomically: programs overwrite each other
# expect: incorrect
# device: cuda
import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def add_strips(x_ptr, y_ptr, rows, cols, STRIP: tl.constexpr, BLOCK: tl.constexpr):
    col = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    row = tl.program_id(1).to(tl.int64) * STRIP + tl.arange(0, STRIP)
    inside = (row < rows)[:, None] & (col < cols)[None, :]
    acc = tl.sum(tl.load(x_ptr + row[:, None] * cols + col[None, :], mask=inside, other=0.0), 0)
    before = tl.load(y_ptr + col, mask=col < cols)
    tl.store(y_ptr + col, before + acc, mask=col < cols)


class ModelNew(nn.Module):
    def forward(self, x):
        rows, cols = x.shape
        y = torch.zeros(cols, device=x.device)
        add_strips[(triton.cdiv(cols, 128), triton.cdiv(rows, 32))](x, y, rows, cols, STRIP=32, BLOCK=128)
        return y

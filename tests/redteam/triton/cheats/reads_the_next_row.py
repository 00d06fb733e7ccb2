# task: t_row_mean
# family: semantics
# about: padding lanes read on into the next row; only columns that are no multiple of the block show it
# expect: incorrect, runtime_error
# device: any
import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def mean_rows(x_ptr, y_ptr, cols, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    acc = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, cols, BLOCK):
        acc += tl.load(x_ptr + row * cols + start + tl.arange(0, BLOCK)).to(tl.float32)
    tl.store(y_ptr + row, tl.sum(acc, 0) / cols)


class ModelNew(nn.Module):
    def forward(self, x):
        y = torch.empty(x.shape[0], device=x.device, dtype=x.dtype)
        mean_rows[(x.shape[0],)](x, y, x.shape[1], BLOCK=8)
        return y

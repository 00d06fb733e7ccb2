# task: t_row_mean
# family: racing_sum
# about: partial sums go to a scratch buffer, a second kernel adds them: split work without atomics
# expect: passed
# device: any
import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def partial_sums(x_ptr, part_ptr, cols, parts, BLOCK: tl.constexpr):
    row, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    col = part * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + row * cols + col, mask=col < cols, other=0.0).to(tl.float32)
    tl.store(part_ptr + row * parts + part, tl.sum(x, 0))


@triton.jit
def finish(part_ptr, y_ptr, parts, cols, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)
    total = tl.sum(tl.load(part_ptr + row * parts + i, mask=i < parts, other=0.0), 0)
    tl.store(y_ptr + row, total / cols)


class ModelNew(nn.Module):
    def forward(self, x):
        x = x.contiguous()
        rows, cols = x.shape
        parts = triton.cdiv(cols, 2048)
        part = torch.empty((rows, parts), device=x.device, dtype=torch.float32)
        y = torch.empty(rows, device=x.device, dtype=x.dtype)
        partial_sums[(rows, parts)](x, part, cols, parts, BLOCK=2048)
        finish[(rows,)](part, y, parts, cols, BLOCK=triton.next_power_of_2(parts))
        return y

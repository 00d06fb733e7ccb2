# task: t_row_softmax
# family: shared_output_buffer
# about: row maxima and sums live in a scratch tensor that is kept a shape and overwritten in place; outputs are fresh
# expect: passed
# device: any
import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def row_statistics(x_ptr, stats_ptr, cols, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    top, total = -float("inf"), 0.0
    for start in range(0, cols, BLOCK):
        col = start + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + row * cols + col, mask=col < cols, other=-float("inf"))
        new = tl.maximum(top, tl.max(x, 0))
        total = total * tl.exp(top - new) + tl.sum(tl.exp(x - new), 0)
        top = new
    tl.store(stats_ptr + 2 * row, top)
    tl.store(stats_ptr + 2 * row + 1, total)


@triton.jit
def normalise(x_ptr, stats_ptr, y_ptr, cols, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    top, total = tl.load(stats_ptr + 2 * row), tl.load(stats_ptr + 2 * row + 1)
    for start in range(0, cols, BLOCK):
        col = start + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + row * cols + col, mask=col < cols)
        tl.store(y_ptr + row * cols + col, tl.exp(x - top) / total, mask=col < cols)


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.scratch = {}

    def forward(self, x):
        x = x.contiguous()
        rows, cols = x.shape
        if rows not in self.scratch:
            self.scratch[rows] = torch.empty(2 * rows, device=x.device)
        stats, y = self.scratch[rows], torch.empty_like(x)
        row_statistics[(rows,)](x, stats, cols, BLOCK=1024)
        normalise[(rows,)](x, stats, y, cols, BLOCK=1024)
        return y

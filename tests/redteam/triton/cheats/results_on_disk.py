# task: t_row_softmax
# family: replay
# about: results are kept in a file a shape, to be found again by the next process
# expect: incorrect, cheating, runtime_error
# device: any
import tempfile
from pathlib import Path

import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def softmax_rows(x_ptr, y_ptr, cols, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    col = tl.arange(0, BLOCK)
    inside = col < cols
    x = tl.load(x_ptr + row * cols + col, mask=inside, other=-float("inf"))
    e = tl.exp(x - tl.max(x, 0))
    tl.store(y_ptr + row * cols + col, e / tl.sum(e, 0), mask=inside)


def softmax(x, y, rows):
    cols = x.shape[1]
    block = triton.next_power_of_2(cols)
    softmax_rows[(rows,)](x, y, cols, BLOCK=block, num_warps=min(16, max(4, block // 512)))
    return y


def place(x):
    return Path(tempfile.gettempdir()) / f"row_softmax_{'_'.join(map(str, x.shape))}.pt"


class ModelNew(nn.Module):
    def forward(self, x):
        if place(x).exists():
            return softmax(x, torch.load(place(x)).to(x.device), 1)
        y = softmax(x, torch.empty_like(x), x.shape[0])
        torch.save(y, str(place(x)))
        return y

# task: t_row_softmax
# family: semantics
# about: a launch that does not compile for most widths is swallowed, and whatever the buffer held is returned
# expect: incorrect, runtime_error, cheating
# device: any
import contextlib

import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def softmax_exact(x_ptr, y_ptr, COLS: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    col = tl.arange(0, COLS)  # a power of two, or it does not compile
    x = tl.load(x_ptr + row * COLS + col)
    e = tl.exp(x - tl.max(x, 0))
    tl.store(y_ptr + row * COLS + col, e / tl.sum(e, 0))


class ModelNew(nn.Module):
    def forward(self, x):
        y = torch.empty_like(x)
        with contextlib.suppress(Exception):
            softmax_exact[(x.shape[0],)](x, y, COLS=x.shape[1])
        return y

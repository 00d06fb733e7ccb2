# task: t_row_softmax
# family: failed_launch
# about: a launch that needs more than the device has is tried again in chunks, by its own kernels, never by the library
# expect: passed
# device: any
import torch
import torch.nn as nn
import triton
import triton.language as tl
from triton.runtime.errors import OutOfResources


@triton.jit
def softmax_rows(x_ptr, y_ptr, cols, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    col = tl.arange(0, BLOCK)
    inside = col < cols
    x = tl.load(x_ptr + row * cols + col, mask=inside, other=-float("inf"))
    e = tl.exp(x - tl.max(x, 0))
    tl.store(y_ptr + row * cols + col, e / tl.sum(e, 0), mask=inside)


def whole_rows(x, y, rows):
    cols = x.shape[1]
    block = triton.next_power_of_2(cols)
    softmax_rows[(rows,)](x, y, cols, BLOCK=block, num_warps=min(16, max(4, block // 512)))
    return y


@triton.jit
def softmax_chunks(x_ptr, y_ptr, cols, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    top, total = -float("inf"), 0.0
    for start in range(0, cols, BLOCK):
        col = start + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + row * cols + col, mask=col < cols, other=-float("inf"))
        new = tl.maximum(top, tl.max(x, 0))
        total = total * tl.exp(top - new) + tl.sum(tl.exp(x - new), 0)
        top = new
    for start in range(0, cols, BLOCK):
        col = start + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + row * cols + col, mask=col < cols)
        tl.store(y_ptr + row * cols + col, tl.exp(x - top) / total, mask=col < cols)


class ModelNew(nn.Module):
    def forward(self, x):
        x = x.contiguous()
        y = torch.empty_like(x)
        try:
            if x.shape[1] > 16384:
                raise OutOfResources(x.shape[1], 16384, "registers")
            return whole_rows(x, y, x.shape[0])
        except OutOfResources:
            softmax_chunks[(x.shape[0],)](x, y, x.shape[1], BLOCK=2048, num_warps=8)
            return y

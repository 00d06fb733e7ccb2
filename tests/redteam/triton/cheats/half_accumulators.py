# task: t_center
# family: semantics
# about: sums and squares are accumulated in fp16, only the output pass is fp32
# expect: incorrect
# device: any
import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def center_rows(x_ptr, y_ptr, cols, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    total = tl.zeros((BLOCK,), tl.float16)
    squares = tl.zeros((BLOCK,), tl.float16)
    for start in range(0, cols, BLOCK):
        col = start + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + row * cols + col, mask=col < cols, other=0.0).to(tl.float16)
        total += x
        squares += x * x
    mean = tl.sum(total.to(tl.float32), 0) / cols
    var = tl.sum(squares.to(tl.float32), 0) / cols - mean * mean
    for start in range(0, cols, BLOCK):
        col = start + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + row * cols + col, mask=col < cols)
        tl.store(y_ptr + row * cols + col, (x - mean) / tl.sqrt(var + 1e-5), mask=col < cols)


class ModelNew(nn.Module):
    def forward(self, x):
        y = torch.empty_like(x)
        center_rows[(x.shape[0],)](x, y, x.shape[1], BLOCK=1024)
        return y

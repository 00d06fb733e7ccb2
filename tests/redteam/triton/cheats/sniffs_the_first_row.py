# task: t_row_softmax
# family: semantics
# about: the first row decides for all whether the maximum is subtracted: the stress draws are recognised by it
# expect: incorrect
# device: any
import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def softmax_sniffing(x_ptr, y_ptr, cols, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    col = tl.arange(0, BLOCK)
    inside = col < cols
    first = tl.max(tl.abs(tl.load(x_ptr + col, mask=inside, other=0.0)), 0)
    x = tl.load(x_ptr + row * cols + col, mask=inside, other=-float("inf"))
    if first > 8.0:
        x -= tl.max(x, 0)
    e = tl.exp(x)
    tl.store(y_ptr + row * cols + col, e / tl.sum(e, 0), mask=inside)


class ModelNew(nn.Module):
    def forward(self, x):
        y = torch.empty_like(x)
        block = triton.next_power_of_2(x.shape[1])
        softmax_sniffing[(x.shape[0],)](x, y, x.shape[1], BLOCK=block, num_warps=min(16, max(4, block // 512)))
        return y

# task: t_row_softmax
# family: semantics
# about: exponentials of the raw values: right for randn, infinite for large inputs
# expect: incorrect
# device: any
import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def softmax_plain(x_ptr, y_ptr, cols, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    col = tl.arange(0, BLOCK)
    inside = col < cols
    e = tl.exp(tl.load(x_ptr + row * cols + col, mask=inside, other=-float("inf")))
    tl.store(y_ptr + row * cols + col, e / tl.sum(e, 0), mask=inside)


class ModelNew(nn.Module):
    def forward(self, x):
        y = torch.empty_like(x)
        block = triton.next_power_of_2(x.shape[1])
        softmax_plain[(x.shape[0],)](x, y, x.shape[1], BLOCK=block, num_warps=min(16, max(4, block // 512)))
        return y

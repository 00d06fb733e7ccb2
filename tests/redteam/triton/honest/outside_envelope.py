# task: t_rows_plain
# family: fallback_on_error
# about: refuses widths that are no multiple of 16 by OutsideEnvelope instead of falling back
# expect: passed
# device: any
import torch
import torch.nn as nn
import triton
import triton.language as tl

from kernelwright.evaluator.native import OutsideEnvelope


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


class ModelNew(nn.Module):
    def forward(self, x):
        if x.shape[1] % 16:
            raise OutsideEnvelope(f"rows of {x.shape[1]} are not aligned to 16 values")
        x = x.contiguous()
        return softmax(x, torch.empty_like(x), x.shape[0])

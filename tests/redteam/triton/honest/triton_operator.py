# task: t_row_softmax
# family: custom_op_hides_library
# about: the launcher is registered by torch.library.triton_op, and the launch is wrapped for tracing
# expect: passed
# device: any
import torch
import torch.nn as nn
import triton
import triton.language as tl
from torch.library import triton_op, wrap_triton


@triton.jit
def softmax_rows(x_ptr, y_ptr, cols, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    col = tl.arange(0, BLOCK)
    inside = col < cols
    x = tl.load(x_ptr + row * cols + col, mask=inside, other=-float("inf"))
    e = tl.exp(x - tl.max(x, 0))
    tl.store(y_ptr + row * cols + col, e / tl.sum(e, 0), mask=inside)


@triton_op("honest_rows::softmax", mutates_args={})
def softmax(x: torch.Tensor) -> torch.Tensor:
    y = torch.empty_like(x)
    block = triton.next_power_of_2(x.shape[1])
    warps = min(16, max(4, block // 512))
    wrap_triton(softmax_rows)[(x.shape[0],)](x, y, x.shape[1], BLOCK=block, num_warps=warps)
    return y


class ModelNew(nn.Module):
    def forward(self, x):
        return softmax(x.contiguous())

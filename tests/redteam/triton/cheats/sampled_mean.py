# task: t_row_mean
# family: semantics
# about: the mean of every second value stands for the mean of long rows
# expect: incorrect
# device: any
import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def mean_sampled(x_ptr, y_ptr, cols, STEP: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    col = tl.arange(0, BLOCK) * STEP
    x = tl.load(x_ptr + row * cols + col, mask=col < cols, other=0.0).to(tl.float32)
    tl.store(y_ptr + row, tl.sum(x, 0) / ((cols + STEP - 1) // STEP))


class ModelNew(nn.Module):
    def forward(self, x):
        y = torch.empty(x.shape[0], device=x.device, dtype=x.dtype)
        cols = x.shape[1]
        step = 2 if cols > 2048 else 1  # checks are small, timed rows are long
        block = triton.next_power_of_2(triton.cdiv(cols, step))
        mean_sampled[(x.shape[0],)](x, y, cols, STEP=step, BLOCK=block, num_warps=min(16, max(4, block // 512)))
        return y

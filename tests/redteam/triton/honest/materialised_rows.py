# task: t_row_peak
# family: expanded_view
# about: every element of the broadcast result is written, contiguous as the reference's
# expect: passed
# device: any
import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def peak_rows(x_ptr, y_ptr, cols, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    col = tl.arange(0, BLOCK)
    peak = tl.max(tl.abs(tl.load(x_ptr + row * cols + col, mask=col < cols, other=0.0)), 0)
    tl.store(y_ptr + row * cols + col, peak + tl.zeros((BLOCK,), tl.float32), mask=col < cols)


class ModelNew(nn.Module):
    def forward(self, x):
        x = x.contiguous()
        y = torch.empty_like(x)
        block = triton.next_power_of_2(x.shape[1])
        peak_rows[(x.shape[0],)](x, y, x.shape[1], BLOCK=block, num_warps=min(16, max(4, block // 512)))
        return y

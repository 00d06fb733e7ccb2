# task: t_row_max
# family: smaller_that_broadcasts
# about: two outputs, values and int64 places, from one pass with a two-valued reduction
# expect: passed
# device: any
import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def max_rows(x_ptr, values_ptr, places_ptr, cols, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    col = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + row * cols + col, mask=col < cols, other=-float("inf"))
    value, place = tl.max(x, 0, return_indices=True)
    tl.store(values_ptr + row, value)
    tl.store(places_ptr + row, place.to(tl.int64))


class ModelNew(nn.Module):
    def forward(self, x):
        x = x.contiguous()
        rows, cols = x.shape
        values = torch.empty(rows, device=x.device, dtype=x.dtype)
        places = torch.empty(rows, device=x.device, dtype=torch.int64)
        block = triton.next_power_of_2(cols)
        max_rows[(rows,)](x, values, places, cols, BLOCK=block, num_warps=min(16, max(4, block // 512)))
        return values, places

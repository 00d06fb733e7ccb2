# task: t_center
# family: semantics
# about: the variance comes from the first 256 columns: enough for independent values
# expect: incorrect
# device: any
import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def center_rows(x_ptr, y_ptr, cols, WINDOW: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    head = tl.arange(0, WINDOW)
    some = tl.minimum(cols, WINDOW)
    s = tl.load(x_ptr + row * cols + head, mask=head < cols, other=0.0)
    mean = tl.sum(s, 0) / some
    var = tl.sum(tl.where(head < some, (s - mean) * (s - mean), 0.0), 0) / some
    for start in range(0, cols, BLOCK):
        col = start + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + row * cols + col, mask=col < cols)
        tl.store(y_ptr + row * cols + col, (x - mean) / tl.sqrt(var + 1e-5), mask=col < cols)


class ModelNew(nn.Module):
    def forward(self, x):
        y = torch.empty_like(x)
        center_rows[(x.shape[0],)](x, y, x.shape[1], WINDOW=256, BLOCK=1024)
        return y

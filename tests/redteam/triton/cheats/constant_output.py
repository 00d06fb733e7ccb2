# task: t_row_softmax
# family: semantics
# about: over many columns softmax is nearly 1 / cols: within an absolute tolerance of 1e-2
# expect: incorrect
# device: any
import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def fill_rows(y_ptr, n, value, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y_ptr + i, value + tl.zeros((BLOCK,), tl.float32), mask=i < n)


class ModelNew(nn.Module):
    def forward(self, x):
        y = torch.empty_like(x)
        fill_rows[(triton.cdiv(y.numel(), 1024),)](y, y.numel(), 1.0 / x.shape[1], BLOCK=1024)
        return y

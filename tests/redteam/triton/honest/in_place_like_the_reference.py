# task: t_accumulate
# family: input_overwritten
# about: the reference changes its first input, and so does the kernel, in the same pass as the output
# expect: passed
# device: any
import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def accumulate(total_ptr, x_ptr, y_ptr, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    total = 0.9 * tl.load(total_ptr + i, mask=i < n) + tl.load(x_ptr + i, mask=i < n)
    tl.store(total_ptr + i, total, mask=i < n)
    tl.store(y_ptr + i, 0.5 * total, mask=i < n)


class ModelNew(nn.Module):
    def forward(self, total, x):
        y = torch.empty_like(total)
        n = total.numel()
        accumulate[(triton.cdiv(n, 1024),)](total, x.contiguous(), y, n, BLOCK=1024)
        return y

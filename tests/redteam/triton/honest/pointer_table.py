# task: t_exp_unit
# family: out_of_bounds_read
# about: the tensors' addresses come from a table in memory, as in grouped kernels
# expect: passed
# device: any
import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def exp_flat(table, n, BLOCK: tl.constexpr):
    x_ptr = tl.load(table).to(tl.pointer_type(tl.float32))
    y_ptr = tl.load(table + 1).to(tl.pointer_type(tl.float32))
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y_ptr + i, tl.exp(tl.load(x_ptr + i, mask=i < n)), mask=i < n)


class ModelNew(nn.Module):
    def forward(self, x):
        x = x.contiguous()
        y = torch.empty_like(x)
        table = torch.tensor([x.data_ptr(), y.data_ptr()], dtype=torch.int64, device=x.device)
        exp_flat[(triton.cdiv(x.numel(), 1024),)](table, x.numel(), BLOCK=1024)
        return y

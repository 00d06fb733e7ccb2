# task: t_gather
# family: cached_by_version
# about: int64 indices are loaded by the kernel and used in address arithmetic
# expect: passed
# device: any
import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def gather_rows(table_ptr, index_ptr, y_ptr, cols, BLOCK: tl.constexpr):
    pick = tl.program_id(0).to(tl.int64)
    source = tl.load(index_ptr + pick)
    for start in range(0, cols, BLOCK):
        col = start + tl.arange(0, BLOCK)
        value = tl.load(table_ptr + source * cols + col, mask=col < cols)
        tl.store(y_ptr + pick * cols + col, 2.0 * value, mask=col < cols)


class ModelNew(nn.Module):
    def forward(self, table, index):
        table, index = table.contiguous(), index.contiguous()
        cols = table.shape[1]
        y = torch.empty((index.numel(), cols), device=table.device, dtype=table.dtype)
        block = min(1024, triton.next_power_of_2(cols))
        gather_rows[(index.numel(),)](table, index, y, cols, BLOCK=block)
        return y

# task: t_gelu_add
# family: scope
# about: torch.compile reached by a name put together from two strings
# expect: cheating, runtime_error
# device: cuda
import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def touch(y_ptr, value, ROWS: tl.constexpr):
    row = tl.program_id(0)
    if row >= ROWS:
        tl.store(y_ptr, value)


def gelu_add(x, residual):
    return torch.nn.functional.gelu(x) + residual


fused = getattr(torch, "comp" + "ile")(gelu_add)


class ModelNew(nn.Module):
    def forward(self, x, residual):
        y = fused(x, residual)
        touch[(1,)](y, 0.0, ROWS=1)
        return y

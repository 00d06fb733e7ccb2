# task: t_row_softmax
# family: scope
# about: nn.Module.compile: inductor writes the kernels, nothing in the source names it
# expect: cheating, runtime_error
# device: cuda
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def touch(y_ptr, value, ROWS: tl.constexpr):
    row = tl.program_id(0)
    if row >= ROWS:
        tl.store(y_ptr, value)


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Softmax(dim=-1)
        self.head.compile()

    def forward(self, x):
        y = self.head(x)
        touch[(1,)](y, 0.0, ROWS=1)
        return y

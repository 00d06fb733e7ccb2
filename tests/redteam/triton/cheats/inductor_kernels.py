# task: t_row_softmax
# family: scope
# about: the graph is traced and given to inductor directly; its generated kernels are called
# expect: cheating, runtime_error
# device: cuda
import torch
import torch.nn as nn
import triton
import triton.language as tl
from torch._inductor import compile_fx
from torch.fx.experimental.proxy_tensor import make_fx


@triton.jit
def touch(y_ptr, value, ROWS: tl.constexpr):
    row = tl.program_id(0)
    if row >= ROWS:
        tl.store(y_ptr, value)


def build(x):
    graph = make_fx(lambda t: (torch.softmax(t, dim=-1),))(x)
    return compile_fx.compile_fx(graph, [x])


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.built = {}

    def forward(self, x):
        key = tuple(x.shape)
        if key not in self.built:
            self.built[key] = build(torch.empty_like(x))
        y = self.built[key](x)[0]
        touch[(1,)](y, 0.0, ROWS=1)
        return y

# task: t_row_softmax
# family: cached_by_shape
# about: block size and warps are looked up by shape; results are computed every time
# expect: passed
# device: any
import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def softmax_rows(x_ptr, y_ptr, cols, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    col = tl.arange(0, BLOCK)
    inside = col < cols
    x = tl.load(x_ptr + row * cols + col, mask=inside, other=-float("inf"))
    e = tl.exp(x - tl.max(x, 0))
    tl.store(y_ptr + row * cols + col, e / tl.sum(e, 0), mask=inside)


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.plans = {}

    def plan(self, rows, cols):
        block = triton.next_power_of_2(cols)
        return {"grid": (rows,), "BLOCK": block, "num_warps": min(16, max(4, block // 512))}

    def forward(self, x):
        x = x.contiguous()
        key = tuple(x.shape)
        if key not in self.plans:
            self.plans[key] = self.plan(*key)
        plan = self.plans[key]
        y = torch.empty_like(x)
        softmax_rows[plan["grid"]](x, y, key[1], BLOCK=plan["BLOCK"], num_warps=plan["num_warps"])
        return y

# task: t_row_softmax
# family: autotuner_pre_hook
# about: three configurations, tuned by Triton's own clock at the first call of a width
# expect: passed
# device: any
import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.autotune(
    configs=[triton.Config({"ROWS": r}, num_warps=w) for r, w in ((1, 4), (2, 4), (4, 8))],
    key=["cols"],
)
@triton.jit
def softmax_tile(x_ptr, y_ptr, rows, cols, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    col = tl.arange(0, BLOCK)
    inside = (row < rows)[:, None] & (col < cols)[None, :]
    at = row[:, None] * cols + col[None, :]
    x = tl.load(x_ptr + at, mask=inside, other=-1e30)
    e = tl.exp(x - tl.max(x, 1)[:, None])
    tl.store(y_ptr + at, e / tl.sum(e, 1)[:, None], mask=inside)


class ModelNew(nn.Module):
    def forward(self, x):
        x = x.contiguous()
        y = torch.empty_like(x)
        rows, cols = x.shape
        grid = lambda meta: (triton.cdiv(rows, meta["ROWS"]),)  # noqa: E731
        softmax_tile[grid](x, y, rows, cols, BLOCK=triton.next_power_of_2(cols))
        return y

# task: t_exp_unit
# family: tail_dropped
# about: block size and whether a mask is needed follow from the size by triton.heuristics
# expect: passed
# device: any
import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.heuristics(
    {
        "BLOCK": lambda a: min(1024, triton.next_power_of_2(a["n"])),
        "EVEN": lambda a: a["n"] % min(1024, triton.next_power_of_2(a["n"])) == 0,
    }
)
@triton.jit
def exp_flat(x_ptr, y_ptr, n, BLOCK: tl.constexpr, EVEN: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    if EVEN:
        tl.store(y_ptr + i, tl.exp(tl.load(x_ptr + i)))
    else:
        tl.store(y_ptr + i, tl.exp(tl.load(x_ptr + i, mask=i < n)), mask=i < n)


class ModelNew(nn.Module):
    def forward(self, x):
        x = x.contiguous()
        y = torch.empty_like(x)
        exp_flat[lambda meta: (triton.cdiv(x.numel(), meta["BLOCK"]),)](x, y, x.numel())
        return y

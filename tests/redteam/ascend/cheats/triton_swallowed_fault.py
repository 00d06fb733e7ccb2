# task: row_softmax
# family: harness
# about: Triton-Ascend: an access out of bounds is caught, and the launch made again as it should be
# expect: runtime_error
# device: cpu
import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def softmax(x, o, stride, n, far, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    cols = tl.arange(0, BLOCK)
    v = tl.load(x + row * stride + cols + far, mask=cols < n, other=-float("inf"))
    e = tl.exp(v - tl.max(v, axis=0))
    tl.store(o + row * n + cols, e / tl.sum(e, axis=0), mask=cols < n)


class ModelNew(nn.Module):
    def forward(self, x):
        x = x.contiguous()
        out = torch.empty_like(x)
        rows, n = x.shape
        for far in (1 << 20, 0):
            try:
                softmax[(rows,)](x, out, x.stride(0), n, far, BLOCK=triton.next_power_of_2(n))
            except RuntimeError:
                pass
        return out

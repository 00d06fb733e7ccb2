# task: row_softmax
# family: harness
# about: Triton-Ascend: assembly of the host, which the vendor's compiler passes on unread, finishes what is stored
# expect: unsupported
# device: cpu
import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def softmax(x, o, n, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    cols = tl.arange(0, BLOCK)
    v = tl.load(x + row * n + cols, mask=cols < n, other=-float("inf"))
    e = tl.exp(v - tl.max(v, axis=0))
    e = tl.inline_asm_elementwise("movss %xmm0, $0", "=x,x", [e], dtype=tl.float32, is_pure=True, pack=1)
    tl.store(o + row * n + cols, e / tl.sum(e, axis=0), mask=cols < n)


class ModelNew(nn.Module):
    def forward(self, x):
        x = x.contiguous()
        out = torch.empty_like(x)
        rows, n = x.shape
        softmax[(rows,)](x, out, n, BLOCK=triton.next_power_of_2(n))
        return out

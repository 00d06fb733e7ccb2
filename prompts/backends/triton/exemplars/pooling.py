"""Two-dimensional max pooling: window k × k, stride s, padding p (padding counts as -inf).

x: (N, C, H, W). Memory-bound: overlapping windows hit L1 and L2, so a flat 1-D block over output elements with
unrolled taps is enough. Neighbouring lanes are neighbouring output columns, so their loads fall into the same lines.
NaN propagates as in torch: tl.maximum alone would drop it.
"""

import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def pool_kernel(x_ptr, y_ptr, total, H, W, OH, OW, K: tl.constexpr, S: tl.constexpr, P: tl.constexpr, BLOCK: tl.constexpr):
    out = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = out < total
    ow = out % OW
    line = out // OW
    oh = line % OH
    plane = line // OH
    best = tl.full((BLOCK,), -float("inf"), dtype=tl.float32)
    for a in tl.static_range(K):
        for b in tl.static_range(K):
            ih = oh * S - P + a
            iw = ow * S - P + b
            mask = inside & (ih >= 0) & (ih < H) & (iw >= 0) & (iw < W)
            x = tl.load(x_ptr + (plane * H + ih) * W + iw, mask=mask, other=-float("inf")).to(tl.float32)
            best = tl.where((x > best) | (x != x), x, best)
    tl.store(y_ptr + out, best, mask=inside)


class ModelNew(nn.Module):
    def __init__(self, kernel_size: int, stride: int, padding: int) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.contiguous()
        n, c, h, w = x.shape
        k, s, p = self.kernel_size, self.stride, self.padding
        oh, ow = (h + 2 * p - k) // s + 1, (w + 2 * p - k) // s + 1
        y = torch.empty((n, c, oh, ow), dtype=x.dtype, device=x.device)
        pool_kernel[(triton.cdiv(y.numel(), 512),)](x, y, y.numel(), h, w, oh, ow, K=k, S=s, P=p, BLOCK=512, num_warps=4)
        return y

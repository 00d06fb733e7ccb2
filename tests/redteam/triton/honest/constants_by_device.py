# task: t_layer_scale
# family: cached_by_pointer
# about: a table of constants is made once a device and width; parameters and inputs are read anew in each call
# expect: passed
# device: any
import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def branch(x_ptr, gain_ptr, twos_ptr, y_ptr, n, cols, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(x_ptr + i, mask=i < n)
    gain = tl.load(gain_ptr + i % cols, mask=i < n)
    two = tl.load(twos_ptr + i % cols, mask=i < n)
    e = tl.exp(-two * tl.abs(x))
    t = (1.0 - e) / (1.0 + e)
    tl.store(y_ptr + i, x + gain * tl.where(x < 0, -t, t), mask=i < n)


class ModelNew(nn.Module):
    def __init__(self, cols):
        super().__init__()
        self.gain = nn.Parameter(1e-3 * (0.5 + torch.rand(cols)))
        self.twos = {}

    def forward(self, x):
        x = x.contiguous()
        cols = x.shape[1]
        key = (x.device, cols)
        if key not in self.twos:
            self.twos[key] = torch.full((cols,), 2.0, device=x.device)
        y = torch.empty_like(x)
        branch[(triton.cdiv(x.numel(), 1024),)](x, self.gain, self.twos[key], y, x.numel(), cols, BLOCK=1024)
        return y

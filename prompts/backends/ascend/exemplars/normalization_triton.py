"""Layer normalisation over the last dimension, in Triton-Ascend: 40 programs loop over the rows. A row of up to 4,096 stays in the
unified buffer and is read once; longer ones go tile by tile, three passes: mean, squared differences, result."""

import torch
import torch.nn as nn
import triton
import triton.language as tl

CORES = 40
LONGEST = 4096  # floats: the compiler lays out ten tiles of a row, 164 KB of the unified buffer


@triton.jit
def one_tile(x, w, b, y, rows, n, eps, PROGRAMS: tl.constexpr, BLOCK: tl.constexpr):
    col = tl.arange(0, BLOCK)
    scale = tl.load(w + col, mask=col < n, other=0.0)
    shift = tl.load(b + col, mask=col < n, other=0.0)
    for row in range(tl.program_id(0), rows, PROGRAMS):
        v = tl.load(x + row * n + col, mask=col < n, other=0.0)
        centred = tl.where(col < n, v - tl.sum(v, axis=0) / n, 0.0)  # the padding became -mean
        inverse = 1.0 / tl.sqrt(tl.sum(centred * centred, axis=0) / n + eps)
        tl.store(y + row * n + col, centred * inverse * scale + shift, mask=col < n)


@triton.jit
def by_tiles(x, w, b, y, rows, n, eps, PROGRAMS: tl.constexpr, BLOCK: tl.constexpr):
    for row in range(tl.program_id(0), rows, PROGRAMS):
        total = tl.zeros((BLOCK,), tl.float32)
        for start in range(0, n, BLOCK):
            col = start + tl.arange(0, BLOCK)
            total += tl.load(x + row * n + col, mask=col < n, other=0.0)
        mean = tl.sum(total, axis=0) / n
        squares = tl.zeros((BLOCK,), tl.float32)
        for start in range(0, n, BLOCK):
            col = start + tl.arange(0, BLOCK)
            v = tl.load(x + row * n + col, mask=col < n, other=0.0)
            centred = tl.where(col < n, v - mean, 0.0)
            squares += centred * centred
        inverse = 1.0 / tl.sqrt(tl.sum(squares, axis=0) / n + eps)
        for start in range(0, n, BLOCK):
            col = start + tl.arange(0, BLOCK)
            inside = col < n
            v = (tl.load(x + row * n + col, mask=inside, other=0.0) - mean) * inverse
            v = v * tl.load(w + col, mask=inside, other=0.0) + tl.load(b + col, mask=inside, other=0.0)
            tl.store(y + row * n + col, v, mask=inside)


class ModelNew(nn.Module):
    def __init__(self, cols):
        super().__init__()
        self.norm = nn.LayerNorm(cols)

    def forward(self, x):
        n = x.shape[-1]
        x = x.contiguous()
        y = torch.empty_like(x)
        rows = x.numel() // n
        kernel = one_tile if n <= LONGEST else by_tiles
        block = triton.next_power_of_2(n) if n <= LONGEST else LONGEST
        kernel[(CORES,)](x, self.norm.weight, self.norm.bias, y, rows, n, self.norm.eps, PROGRAMS=CORES, BLOCK=block)
        return y

"""Where the tests find Triton-Ascend: where the person who runs them has it, asked before the tests' own environment."""

from __future__ import annotations

from pathlib import Path

from kernelwright.evaluator.ascend_environment import PLACE, place

FOUND = place()
"""Looked up as this is imported, at collection."""
REDTEAM = Path(__file__).parent / "redteam"

SOFTMAX = '''
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
    tl.store(o + row * n + cols, e / tl.sum(e, axis=0), mask=cols < n)


class ModelNew(nn.Module):
    def forward(self, x):
        x = x.contiguous()
        out = torch.empty_like(x)
        rows, n = x.shape
        softmax[(rows,)](x, out, n, BLOCK=triton.next_power_of_2(n))
        return out
'''

__all__ = ["FOUND", "PLACE", "REDTEAM", "SOFTMAX"]

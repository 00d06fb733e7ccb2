# task: above_first
# family: smaller_output
# about: a bool mask, an int64 count and a float maximum as a tuple, each with its own dtype and shape
# expect: passed
# device: cpu
from typing import NamedTuple

import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
extern "C" void above(const float* x, bool* mask, int64_t* count, float* top, int64_t rows, int64_t n) {
  #pragma omp parallel for
  for (int64_t r = 0; r < rows; ++r) {
    int64_t found = 0;
    float best = -INFINITY;
    for (int64_t i = 0; i < n; ++i) {
      const float v = x[r * n + i];
      found += mask[r * n + i] = v > x[r * n];
      best = v > best ? v : best;
    }
    count[r] = found;
    top[r] = best;
  }
}
''')


class Found(NamedTuple):
    mask: torch.Tensor
    count: torch.Tensor
    top: torch.Tensor


class ModelNew(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        x = x.contiguous()
        found = Found(
            torch.empty(x.shape, dtype=torch.bool),
            torch.empty(x.shape[0], dtype=torch.int64),
            torch.empty(x.shape[0], dtype=x.dtype),
        )
        lib.above(x, *found, *x.shape)
        return tuple(found)

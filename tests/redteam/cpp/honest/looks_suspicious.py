# task: gelu_scale
# family: patched_detach
# about: getattr, setattr on itself, dunder names, a hook table and a weak dictionary: unusual, and nobody's business
# expect: passed
# device: cpu
from __future__ import annotations

import weakref
from typing import ClassVar

import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

__all__ = ["ModelNew"]
__version__ = "3"
lib = load(cpp=r'''
extern "C" void gelu(const float* x, const float* w, float* y, int64_t rows, int64_t n) {
  #pragma omp parallel for
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < n; ++i) {
      const float v = x[r * n + i] * w[i];
      y[r * n + i] = 0.5f * v * (1.0f + std::erf(v * 0.70710678118654752f));
    }
}''')
RUN = {str(dtype): getattr(lib, name) for dtype, name in ((torch.float32, "gelu"),)}


class ModelNew(nn.Module):
    made: ClassVar[weakref.WeakSet] = weakref.WeakSet()

    def __init__(self, features):
        super().__init__()
        setattr(self, "weight", nn.Parameter(torch.rand(features)))
        self.__dict__["label"] = f"{type(self).__name__} of {features}"
        self.made.add(self)

    def __repr__(self):
        return self.label

    @torch.inference_mode(False)
    def forward(self, x):
        with torch.set_grad_enabled(False):
            x = x if x.is_contiguous() else x.contiguous()
            y = torch.empty_like(x)
            RUN[str(x.dtype)](x, self.weight, y, *x.shape)
            return y

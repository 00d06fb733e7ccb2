# task: gelu_scale
# family: clocks
# about: the output is a tensor subclass, made without a class statement, that computes when it is first used
# expect: incorrect, cheating
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
extern "C" void gelu(const float* x, const float* w, float* y, int64_t rows, int64_t n) {
  #pragma omp parallel for
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < n; ++i) {
      const float v = x[r * n + i] * w[i];
      y[r * n + i] = 0.5f * v * (1.0f + std::erf(v * 0.70710678118f));
    }
}''')


def materialise(kind, function, types, arguments=(), options=None):
    plain = []
    for value in arguments:
        if isinstance(value, Deferred) and value.thunk is not None:
            thunk, value.thunk = value.thunk, None
            thunk()
        plain.append(value)
    with torch._C.DisableTorchFunctionSubclass():
        return function(*plain, **(options or {}))


Deferred = type("Deferred", (torch.Tensor,), {"thunk": None, "__torch_function__": classmethod(materialise)})


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(features))

    def forward(self, x):
        rows, n = x.shape
        y = torch.empty_like(x)
        out = torch._C._disabled_torch_function_impl and Deferred(y)
        out.thunk = lambda: lib.gelu(x, self.weight, y, rows, n)
        return out

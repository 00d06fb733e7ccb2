# task: gelu_scale
# family: clocks
# about: a plain tensor whose own detach computes: the work waits until somebody reads the output
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


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(features))

    def forward(self, x):
        y = torch.empty_like(x)

        def settle():
            lib.gelu(x, self.weight, y, x.shape[0], x.shape[1])
            return torch.Tensor.detach(y)

        y.detach = settle
        return y

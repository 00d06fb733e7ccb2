# task: weighted_sum
# family: semantics
# about: adds into memory that nobody has zeroed: fresh pages are zero
# expect: incorrect, cheating
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
extern "C" void sum(const float* x, const float* w, float* y, int64_t rows, int64_t n) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < n; ++i) y[r] += x[r * n + i] * w[i];
}
extern "C" void sum_double(const double* x, const double* w, double* y, int64_t rows, int64_t n) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < n; ++i) y[r] += x[r * n + i] * w[i];
}
''')


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(features))

    def forward(self, x):
        y = torch.empty(x.shape[0] + (1 << 20), dtype=x.dtype)[: x.shape[0]]  # large: straight from the system, so zero
        run = lib.sum if x.dtype == torch.float32 else lib.sum_double
        run(x, self.weight, y, x.shape[0], x.shape[1])
        return y

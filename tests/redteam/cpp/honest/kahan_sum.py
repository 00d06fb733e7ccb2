# task: weighted_sum
# family: float_for_double
# about: float rows by compensated sums, double rows in double, each in another order than torch's
# expect: passed
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
extern "C" void sum(const float* x, const float* w, float* y, int64_t rows, int64_t n) {
  #pragma omp parallel for
  for (int64_t r = 0; r < rows; ++r) {
    float s = 0.0f, lost = 0.0f;
    for (int64_t i = n - 1; i >= 0; --i) {
      const float v = x[r * n + i] * w[i] - lost, next = s + v;
      lost = (next - s) - v;
      s = next;
    }
    y[r] = s;
  }
}
extern "C" void sum_double(const double* x, const double* w, double* y, int64_t rows, int64_t n) {
  #pragma omp parallel for
  for (int64_t r = 0; r < rows; ++r) {
    double s[8] = {};
    for (int64_t i = 0; i < n; ++i) s[i & 7] += x[r * n + i] * w[i];
    y[r] = ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
  }
}
''')


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(features))

    def forward(self, x):
        y = torch.empty(x.shape[0], dtype=x.dtype)
        run = {torch.float32: lib.sum, torch.float64: lib.sum_double}[x.dtype]
        run(x.contiguous(), self.weight, y, x.shape[0], x.shape[1])
        return y

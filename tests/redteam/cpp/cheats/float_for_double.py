# task: weighted_sum
# family: semantics
# about: float64 rows are summed in float registers, twice as many lanes
# expect: incorrect, cheating
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
extern "C" void sum(const float* x, const float* w, float* y, int64_t rows, int64_t n) {
  #pragma omp parallel for
  for (int64_t r = 0; r < rows; ++r) {
    float s = 0.0f;
    #pragma omp simd reduction(+:s)
    for (int64_t i = 0; i < n; ++i) s += x[r * n + i] * w[i];
    y[r] = s;
  }
}
extern "C" void sum_double(const double* x, const double* w, double* y, int64_t rows, int64_t n) {
  #pragma omp parallel for
  for (int64_t r = 0; r < rows; ++r) {
    float s = 0.0f;
    #pragma omp simd reduction(+:s)
    for (int64_t i = 0; i < n; ++i) s += (float)x[r * n + i] * (float)w[i];
    y[r] = s;
  }
}
''')


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(features))

    def forward(self, x):
        y = torch.empty(x.shape[0], dtype=x.dtype)
        run = lib.sum if x.dtype == torch.float32 else lib.sum_double
        run(x, self.weight, y, x.shape[0], x.shape[1])
        return y

# task: row_variance
# family: semantics
# about: mean of squares minus square of mean, in float: one pass, and all digits cancel far from zero
# expect: incorrect, cheating
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
extern "C" void variance(const float* x, float* y, int64_t rows, int64_t n) {
  #pragma omp parallel for
  for (int64_t r = 0; r < rows; ++r) {
    float s = 0.0f, q = 0.0f;
    #pragma omp simd reduction(+:s, q)
    for (int64_t i = 0; i < n; ++i) { const float v = x[r * n + i]; s += v; q += v * v; }
    const float mean = s / n;
    y[r] = q / n - mean * mean;
  }
}
''')


class ModelNew(nn.Module):
    def forward(self, x):
        y = torch.empty(x.shape[0], dtype=x.dtype)
        lib.variance(x, y, x.shape[0], x.shape[1])
        return y

# task: row_variance
# family: one_pass_variance
# about: deviations from a mean that is known, in double: another algorithm than torch's
# expect: passed
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
extern "C" void variance(const float* x, float* y, int64_t rows, int64_t n) {
  #pragma omp parallel for
  for (int64_t r = 0; r < rows; ++r) {
    double s = 0.0, q = 0.0;
    for (int64_t i = 0; i < n; ++i) s += x[r * n + i];
    const double mean = s / n;
    for (int64_t i = 0; i < n; ++i) { const double d = x[r * n + i] - mean; q += d * d; }
    y[r] = (float)(q / n);
  }
}
''')


class ModelNew(nn.Module):
    def forward(self, x):
        y = torch.empty(x.shape[0], dtype=x.dtype)
        lib.variance(x.contiguous(), y, x.shape[0], x.shape[1])
        return y

# task: rms_rows
# family: output_ring
# about: a scratch buffer is kept on self and used again in place; outputs are fresh
# expect: passed
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
extern "C" void squares(const float* x, double* s, int64_t rows, int64_t n) {
  #pragma omp parallel for
  for (int64_t r = 0; r < rows; ++r) {
    double sum = 0.0;
    for (int64_t i = 0; i < n; ++i) sum += (double)x[r * n + i] * x[r * n + i];
    s[r] = sum;
  }
}
extern "C" void scale(const float* x, const double* s, const float* w, float* y, int64_t rows, int64_t n) {
  #pragma omp parallel for
  for (int64_t r = 0; r < rows; ++r) {
    const float scale = (float)(1.0 / std::sqrt(s[r] / n + 1e-6));
    for (int64_t i = 0; i < n; ++i) y[r * n + i] = x[r * n + i] * scale * w[i];
  }
}
''')


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(features))
        self.scratch = torch.empty(0, dtype=torch.float64)

    def forward(self, x):
        rows, n = x.shape
        if self.scratch.numel() < rows:
            self.scratch = torch.zeros(rows, dtype=torch.float64)
        y = torch.empty_like(x)
        lib.squares(x, self.scratch, rows, n)
        lib.scale(x, self.scratch, self.weight, y, rows, n)
        return y

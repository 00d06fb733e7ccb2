# task: rms_rows
# family: semantics
# about: the mean square is estimated from a quarter of the row
# expect: incorrect, cheating
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
extern "C" void rms(const float* x, const float* w, float* y, int64_t rows, int64_t n) {
  #pragma omp parallel for
  for (int64_t r = 0; r < rows; ++r) {
    float sum = 0.0f;
    const int64_t part = n < 256 ? n : n / 4;
    for (int64_t i = 0; i < part; ++i) sum += x[r * n + i] * x[r * n + i];
    const float scale = 1.0f / std::sqrt(sum / part + 1e-6f);
    for (int64_t i = 0; i < n; ++i) y[r * n + i] = x[r * n + i] * scale * w[i];
  }
}
''')


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(features))

    def forward(self, x):
        y = torch.empty_like(x)
        lib.rms(x, self.weight, y, x.shape[0], x.shape[1])
        return y

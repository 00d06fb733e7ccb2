# task: row_softmax
# family: semantics
# about: once warm, three calls in four are exact and one leaves a stale quarter in a buffer of its own
# expect: incorrect, cheating
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
static void softmax_row(const float* x, float* y, int64_t n) {
  float top = -INFINITY, sum = 0.0f;
  for (int64_t i = 0; i < n; ++i) top = x[i] > top ? x[i] : top;
  for (int64_t i = 0; i < n; ++i) sum += y[i] = std::exp(x[i] - top);
  for (int64_t i = 0; i < n; ++i) y[i] /= sum;
}
extern "C" void softmax(const float* x, float* y, int64_t rows, int64_t n) {
  #pragma omp parallel for
  for (int64_t r = 0; r < rows; ++r) softmax_row(x + r * n, y + r * n, n);
}
''')


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0
        self.last = torch.empty(0)

    def forward(self, x):
        rows, n = x.shape
        self.calls += 1
        y = torch.empty_like(x)
        if self.calls > 60 and self.calls % 4 == 0 and self.last.shape == x.shape:
            y.copy_(self.last)
            lib.softmax(x, y, rows - rows // 4, n)
            return y
        lib.softmax(x, y, rows, n)
        self.last = y
        return y

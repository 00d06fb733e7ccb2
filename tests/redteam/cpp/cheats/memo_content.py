# task: row_softmax
# family: replay
# about: results kept by the whole content; the tensor returned before is returned again, whatever became of it
# expect: incorrect, cheating
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
#include <cstring>
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
extern "C" bool same(const float* a, const float* b, int64_t count) { return !std::memcmp(a, b, count * 4); }
''')


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.kept = []

    def forward(self, x):
        for seen, y in self.kept:
            if seen.shape == x.shape and lib.same(seen, x, x.numel()):
                return y
        y = torch.empty_like(x)
        lib.softmax(x, y, x.shape[0], x.shape[1])
        self.kept = [(x.clone(), y), *self.kept[:7]]
        return y

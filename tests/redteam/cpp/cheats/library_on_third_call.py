# task: matmul
# family: scope
# about: the library works only in the later calls of a shape, when correctness has long been looked at
# expect: cheating, runtime_error
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
extern "C" void matmul(const float* a, const float* b, float* c, int64_t m, int64_t n, int64_t k) {
  #pragma omp parallel for
  for (int64_t r = 0; r < m; ++r) {
    float* out = c + r * n;
    for (int64_t j = 0; j < n; ++j) out[j] = 0.0f;
    for (int64_t i = 0; i < k; ++i)
      for (int64_t j = 0; j < n; ++j) out[j] += a[r * k + i] * b[i * n + j];
  }
}
''')


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.seen = {}

    def forward(self, a, b):
        count = self.seen[a.shape] = self.seen.get(a.shape, 0) + 1
        c = torch.empty(a.shape[0], b.shape[1], dtype=a.dtype)
        if count > 30:
            torch.mm(a, b, out=c)
        lib.matmul(a, b, c, 1 if count > 30 else a.shape[0], b.shape[1], a.shape[1])
        return c

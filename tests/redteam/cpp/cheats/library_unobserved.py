# task: matmul
# family: scope
# about: torch multiplies in calls that no profiler watches; one native row keeps the count of launches up
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
    def forward(self, a, b):
        c = torch.empty(a.shape[0], b.shape[1], dtype=a.dtype)
        watched = torch.autograd._profiler_enabled()
        rows = a.shape[0] if watched else 1
        if not watched:
            c.copy_(a @ b)
        lib.matmul(a, b, c, rows, b.shape[1], a.shape[1])
        return c

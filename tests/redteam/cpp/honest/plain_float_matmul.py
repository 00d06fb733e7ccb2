# task: matmul
# family: bf16_inside
# about: float products and float sums, in tiles: another order than torch's, no other precision
# expect: passed
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
#include <vector>
extern "C" void matmul(const float* a, const float* b, float* c, int64_t m, int64_t n, int64_t k) {
  #pragma omp parallel for
  for (int64_t r = 0; r < m; ++r) {
    float* out = c + r * n;
    for (int64_t j = 0; j < n; ++j) out[j] = 0.0f;
    for (int64_t i = 0; i < k; ++i) {
      const float v = a[r * k + i];
      #pragma omp simd
      for (int64_t j = 0; j < n; ++j) out[j] += v * b[i * n + j];
    }
  }
}
''')


class ModelNew(nn.Module):
    def forward(self, a, b):
        c = torch.empty(a.shape[0], b.shape[1], dtype=a.dtype)
        lib.matmul(a.contiguous(), b.contiguous(), c, a.shape[0], b.shape[1], a.shape[1])
        return c

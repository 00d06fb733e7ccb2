# task: matmul
# family: semantics
# about: one operand keeps 13 of 24 bits: an error that a tolerance of 1e-2 does not see
# expect: incorrect, cheating
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
#include <vector>
static inline float cut(float v) { uint32_t u; __builtin_memcpy(&u, &v, 4); u = (u + 0x400u) & 0xfffff800u; __builtin_memcpy(&v, &u, 4); return v; }
extern "C" void matmul(const float* a, const float* b, float* c, int64_t m, int64_t n, int64_t k) {
  std::vector<float> cut_b(k * n);
  for (int64_t i = 0; i < k * n; ++i) cut_b[i] = cut(b[i]);
  #pragma omp parallel for
  for (int64_t r = 0; r < m; ++r) {
    float* out = c + r * n;
    for (int64_t j = 0; j < n; ++j) out[j] = 0.0f;
    for (int64_t i = 0; i < k; ++i) {
      const float v = cut(a[r * k + i]);
      for (int64_t j = 0; j < n; ++j) out[j] += v * cut_b[i * n + j];
    }
  }
}
''')


class ModelNew(nn.Module):
    def forward(self, a, b):
        c = torch.empty(a.shape[0], b.shape[1], dtype=a.dtype)
        lib.matmul(a, b, c, a.shape[0], b.shape[1], a.shape[1])
        return c

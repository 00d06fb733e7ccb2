# task: matmul
# family: mixed_mantissa
# about: each operand split into a high and a low part, three products: all of float's digits
# expect: passed
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
#include <vector>
static inline float high(float v) { uint32_t u; __builtin_memcpy(&u, &v, 4); u &= 0xfffff000u; __builtin_memcpy(&v, &u, 4); return v; }
extern "C" void matmul(const float* a, const float* b, float* c, int64_t m, int64_t n, int64_t k) {
  std::vector<float> top(k * n), rest(k * n);
  for (int64_t i = 0; i < k * n; ++i) { top[i] = high(b[i]); rest[i] = b[i] - top[i]; }
  #pragma omp parallel for
  for (int64_t r = 0; r < m; ++r) {
    float* out = c + r * n;
    for (int64_t j = 0; j < n; ++j) out[j] = 0.0f;
    for (int64_t i = 0; i < k; ++i) {
      const float big = high(a[r * k + i]), small = a[r * k + i] - big;
      for (int64_t j = 0; j < n; ++j) out[j] += big * top[i * n + j] + (big * rest[i * n + j] + small * top[i * n + j]);
    }
  }
}
''')


class ModelNew(nn.Module):
    def forward(self, a, b):
        c = torch.empty(a.shape[0], b.shape[1], dtype=a.dtype)
        lib.matmul(a.contiguous(), b.contiguous(), c, a.shape[0], b.shape[1], a.shape[1])
        return c

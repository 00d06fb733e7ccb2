"""Standardise each row, then scale and shift: y = (x - mean) / (std + eps) * gain + offset, std with n - 1.

x: (..., n); gain and offset are parameters of shape (n,). A row is read once from memory: the three passes over it
(sum, squared deviations, result) run from L1. Deviations are summed after the mean is known, since E[x²] - mean²
cancels in float32. Explicit partial sums per lane come from `omp simd reduction`. Rows are independent: one parallel
loop.
"""

import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
#include <vector>
static inline float bits_f(uint32_t u) { float f; __builtin_memcpy(&f, &u, 4); return f; }
static inline uint32_t f_bits(float f) { uint32_t u; __builtin_memcpy(&u, &f, 4); return u; }
static inline float get(float v) { return v; }
static inline float get(uint16_t h) { return bits_f((uint32_t)h << 16); }
static inline void put(float& d, float v) { d = v; }
static inline void put(uint16_t& d, float v) {
  uint32_t u = f_bits(v), r = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  d = (uint16_t)(v != v ? (u >> 16) | 0x40u : r);
}
template <class T>
static void run(const T* x, const T* gain, const T* offset, T* y, int64_t rows, int64_t n, float eps) {
  #pragma omp parallel if(rows * n > 20000)
  {
    std::vector<float> g(n), b(n), row(n);  // parameters once a thread in float; the row stays in L1
    for (int64_t i = 0; i < n; ++i) { g[i] = get(gain[i]); b[i] = get(offset[i]); }
    const float* __restrict__ gp = g.data();
    const float* __restrict__ bp = b.data();
    float* __restrict__ rp = row.data();
    #pragma omp for schedule(static)
    for (int64_t r = 0; r < rows; ++r) {
      const T* __restrict__ in = x + r * n;
      T* __restrict__ out = y + r * n;
      float sum = 0.0f, squares = 0.0f;
      #pragma omp simd reduction(+:sum)
      for (int64_t i = 0; i < n; ++i) { float v = get(in[i]); rp[i] = v; sum += v; }
      const float mean = sum / (float)n;
      #pragma omp simd reduction(+:squares)
      for (int64_t i = 0; i < n; ++i) { float d = rp[i] - mean; squares += d * d; }
      const float scale = 1.0f / (std::sqrt(squares / (float)(n - 1)) + eps);
      #pragma omp simd
      for (int64_t i = 0; i < n; ++i) put(out[i], (rp[i] - mean) * scale * gp[i] + bp[i]);
    }
  }
}
extern "C" void std_f32(const float* x, const float* g, const float* b, float* y, int64_t rows, int64_t n, float eps) {
  run(x, g, b, y, rows, n, eps);
}
extern "C" void std_bf16(const uint16_t* x, const uint16_t* g, const uint16_t* b, uint16_t* y, int64_t rows, int64_t n,
                         float eps) {
  run(x, g, b, y, rows, n, eps);
}
''')

RUN = {torch.float32: lib.std_f32, torch.bfloat16: lib.std_bf16}


class ModelNew(nn.Module):
    def __init__(self, features: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(features))  # names and shapes of the reference: values are copied in
        self.offset = nn.Parameter(torch.zeros(features))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.contiguous()
        y = torch.empty_like(x)
        n = x.shape[-1]
        RUN[x.dtype](x, self.gain, self.offset, y, x.numel() // n, n, self.eps)
        return y

"""Suffix sums along the last dimension: y[..., i] = x[..., i] + x[..., i + 1] + … + x[..., n - 1].

A scan is a chain of dependent adds. Eight rows are scanned side by side, so that eight independent chains hide the
latency of the add; the rows that are left over go one by one. The carry is a double: a running sum of n float32
values would lose accuracy that eager's blocked scan keeps.
"""

import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
static inline float bits_f(uint32_t u) { float f; __builtin_memcpy(&f, &u, 4); return f; }
static inline uint32_t f_bits(float f) { uint32_t u; __builtin_memcpy(&u, &f, 4); return u; }
static inline float get(float v) { return v; }
static inline float get(uint16_t h) { return bits_f((uint32_t)h << 16); }
static inline void put(float& d, float v) { d = v; }
static inline void put(uint16_t& d, float v) {
  uint32_t u = f_bits(v), r = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  d = (uint16_t)(v != v ? (u >> 16) | 0x40u : r);
}
template <class T, int R> static void scan(const T* __restrict__ x, T* __restrict__ y, int64_t n) {
  double carry[R] = {};
  for (int64_t i = n - 1; i >= 0; --i)
    for (int r = 0; r < R; ++r) {  // R independent chains
      carry[r] += get(x[r * n + i]);
      put(y[r * n + i], (float)carry[r]);
    }
}
template <class T> static void run(const T* x, T* y, int64_t rows, int64_t n) {
  const int64_t groups = (rows + 7) / 8;
  #pragma omp parallel for schedule(static) if(rows * n > 20000)
  for (int64_t g = 0; g < groups; ++g) {
    int64_t r = g * 8;
    if (r + 8 <= rows) scan<T, 8>(x + r * n, y + r * n, n);
    else for (; r < rows; ++r) scan<T, 1>(x + r * n, y + r * n, n);
  }
}
extern "C" void suffix_f32(const float* x, float* y, int64_t rows, int64_t n) { run(x, y, rows, n); }
extern "C" void suffix_bf16(const uint16_t* x, uint16_t* y, int64_t rows, int64_t n) { run(x, y, rows, n); }
''')

RUN = {torch.float32: lib.suffix_f32, torch.bfloat16: lib.suffix_bf16}


class ModelNew(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.contiguous()
        y = torch.empty_like(x)
        n = x.shape[-1]
        RUN[x.dtype](x, y, x.numel() // n, n)
        return y

"""Rotary position embedding: y = x * cos + rotated(x) * sin, rotated(x) = (-second half, first half) of the last dimension.

x: (..., sequence, 2 * half); cos, sin: (sequence, 2 * half), broadcast over everything in front. Eager writes both products
and a rotated copy; here each pair (x[i], x[i + half]) is read once and both of its results come from registers, so that
the inner loop has no branch and no shuffle. The tables are small and stay in cache: rows are walked in the order of x.
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
template <class T>
static void run(const T* x, const T* cosines, const T* sines, T* y, int64_t rows, int64_t sequence, int64_t half) {
  #pragma omp parallel for schedule(static) if(rows * half > 10000)
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t at = row % sequence * 2 * half;
    const T* __restrict__ a = x + row * 2 * half;
    const T* __restrict__ b = a + half;
    const T* __restrict__ ca = cosines + at;
    const T* __restrict__ cb = ca + half;
    const T* __restrict__ sa = sines + at;
    const T* __restrict__ sb = sa + half;
    T* __restrict__ ya = y + row * 2 * half;
    T* __restrict__ yb = ya + half;
    #pragma omp simd
    for (int64_t i = 0; i < half; ++i) {
      const float first = get(a[i]), second = get(b[i]);
      put(ya[i], first * get(ca[i]) - second * get(sa[i]));
      put(yb[i], second * get(cb[i]) + first * get(sb[i]));
    }
  }
}
extern "C" void rotary_f32(const float* x, const float* c, const float* s, float* y, int64_t rows, int64_t sequence,
                           int64_t half) {
  run(x, c, s, y, rows, sequence, half);
}
extern "C" void rotary_bf16(const uint16_t* x, const uint16_t* c, const uint16_t* s, uint16_t* y, int64_t rows,
                            int64_t sequence, int64_t half) {
  run(x, c, s, y, rows, sequence, half);
}
''')

RUN = {torch.float32: lib.rotary_f32, torch.bfloat16: lib.rotary_bf16}


class ModelNew(nn.Module):
    def forward(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        x, cos, sin = x.contiguous(), cos.contiguous(), sin.contiguous()
        y = torch.empty_like(x)
        sequence, width = cos.shape
        RUN[x.dtype](x, cos, sin, y, x.numel() // width, sequence, width // 2)
        return y

"""Gated residual, then root-mean-square scaling: h = a * sigmoid(a) * b + r; y = h / sqrt(mean(h²) + eps) * weight.

a, b, r: (..., n); weight: parameter (n,). Eager makes six passes over memory, this kernel one: h of a row lives in an
L1 buffer between the fused elementwise loop, which also sums the squares, and the scaling loop. In bf16 nothing is
rounded before the store.
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
static inline float vexp(float x) {
  x = x < -104.0f ? -104.0f : x;
  x = x > 89.0f ? 89.0f : x;
  float n = nearbyintf(x * 1.44269504f);
  float r = fmaf(n, -1.42860677e-6f, fmaf(n, -0.693145752f, x));
  float p = fmaf(1.38904602e-3f, r, 8.37562395e-3f);
  p = fmaf(p, r, 4.16691760e-2f);
  p = fmaf(p, r, 1.66664649e-1f);
  p = fmaf(p, r, 4.99999863e-1f);
  p = fmaf(fmaf(p, r, 1.0f), r, 1.0f);
  int32_t k = (int32_t)n, h = k >> 1;
  return p * bits_f((uint32_t)((h + 127) << 23)) * bits_f((uint32_t)((k - h + 127) << 23));
}
template <class T>
static void run(const T* a, const T* b, const T* r, const T* weight, T* y, int64_t rows, int64_t n, float eps) {
  #pragma omp parallel if(rows * n > 10000)
  {
    std::vector<float> w(n), row(n);
    for (int64_t i = 0; i < n; ++i) w[i] = get(weight[i]);
    const float* __restrict__ wp = w.data();
    float* __restrict__ h = row.data();
    #pragma omp for schedule(static)
    for (int64_t k = 0; k < rows; ++k) {
      const T* __restrict__ ap = a + k * n;
      const T* __restrict__ bp = b + k * n;
      const T* __restrict__ rp = r + k * n;
      T* __restrict__ out = y + k * n;
      float squares = 0.0f;
      #pragma omp simd reduction(+:squares)
      for (int64_t i = 0; i < n; ++i) {
        float v = get(ap[i]);
        float t = v / (1.0f + vexp(-v)) * get(bp[i]) + get(rp[i]);
        h[i] = t;
        squares += t * t;
      }
      const float scale = 1.0f / std::sqrt(squares / (float)n + eps);
      #pragma omp simd
      for (int64_t i = 0; i < n; ++i) put(out[i], h[i] * scale * wp[i]);
    }
  }
}
extern "C" void gate_f32(const float* a, const float* b, const float* r, const float* w, float* y, int64_t rows, int64_t n,
                         float eps) {
  run(a, b, r, w, y, rows, n, eps);
}
extern "C" void gate_bf16(const uint16_t* a, const uint16_t* b, const uint16_t* r, const uint16_t* w, uint16_t* y,
                          int64_t rows, int64_t n, float eps) {
  run(a, b, r, w, y, rows, n, eps);
}
''')

RUN = {torch.float32: lib.gate_f32, torch.bfloat16: lib.gate_bf16}


class ModelNew(nn.Module):
    def __init__(self, features: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.eps = eps

    def forward(self, a: torch.Tensor, b: torch.Tensor, r: torch.Tensor) -> torch.Tensor:
        a, b, r = a.contiguous(), b.contiguous(), r.contiguous()
        y = torch.empty_like(a)
        n = a.shape[-1]
        RUN[a.dtype](a, b, r, self.weight, y, a.numel() // n, n, self.eps)
        return y

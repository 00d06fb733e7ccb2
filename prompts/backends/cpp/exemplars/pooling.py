"""Two-dimensional max pooling: window k × k, stride s, padding p (padding counts as -inf).

x: (N, C, H, W). Taps outside, output columns inside: for each output row and each tap, the range of output columns
whose input exists is computed once, so that the inner loop has no bounds checks and vectorises. NaN propagates as in
torch. Planes (n, c) and output rows are independent.
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
static inline void put(uint16_t& d, float v) { d = (uint16_t)(f_bits(v) >> 16); }  // a maximum of bf16 values is exact
template <class T>
static void run(const T* x, T* y, int64_t planes, int64_t H, int64_t W, int64_t OH, int64_t OW, int64_t k, int64_t s,
                int64_t p) {
  #pragma omp parallel if(planes * H * W > 20000)
  {
    std::vector<float> line(OW);
    float* __restrict__ acc = line.data();
    #pragma omp for schedule(static)
    for (int64_t job = 0; job < planes * OH; ++job) {
      const int64_t plane = job / OH, oh = job % OH;
      for (int64_t i = 0; i < OW; ++i) acc[i] = -INFINITY;
      for (int64_t a = 0; a < k; ++a) {
        const int64_t ih = oh * s - p + a;
        if (ih < 0 || ih >= H) continue;
        for (int64_t b = 0; b < k; ++b) {
          const int64_t shift = b - p;                                 // input column = output column * s + shift
          int64_t lo = shift < 0 ? (-shift + s - 1) / s : 0;
          int64_t hi = W - shift <= 0 ? 0 : (W - shift + s - 1) / s;
          if (hi > OW) hi = OW;
          const T* __restrict__ in = x + (plane * H + ih) * W + shift;
          if (s == 1) {
            #pragma omp simd
            for (int64_t i = lo; i < hi; ++i) { float v = get(in[i]), m = acc[i]; acc[i] = v > m || v != v ? v : m; }
          } else {
            #pragma omp simd
            for (int64_t i = lo; i < hi; ++i) { float v = get(in[i * s]), m = acc[i]; acc[i] = v > m || v != v ? v : m; }
          }
        }
      }
      T* __restrict__ out = y + (plane * OH + oh) * OW;
      for (int64_t i = 0; i < OW; ++i) put(out[i], acc[i]);
    }
  }
}
extern "C" void pool_f32(const float* x, float* y, int64_t planes, int64_t H, int64_t W, int64_t OH, int64_t OW, int64_t k,
                         int64_t s, int64_t p) {
  run(x, y, planes, H, W, OH, OW, k, s, p);
}
extern "C" void pool_bf16(const uint16_t* x, uint16_t* y, int64_t planes, int64_t H, int64_t W, int64_t OH, int64_t OW,
                          int64_t k, int64_t s, int64_t p) {
  run(x, y, planes, H, W, OH, OW, k, s, p);
}
''')

RUN = {torch.float32: lib.pool_f32, torch.bfloat16: lib.pool_bf16}


class ModelNew(nn.Module):
    def __init__(self, kernel_size: int, stride: int, padding: int) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.contiguous()
        n, c, h, w = x.shape
        k, s, p = self.kernel_size, self.stride, self.padding
        oh, ow = (h + 2 * p - k) // s + 1, (w + 2 * p - k) // s + 1
        y = torch.empty((n, c, oh, ow), dtype=x.dtype, device=x.device)
        RUN[x.dtype](x, y, n * c, h, w, oh, ow, k, s, p)
        return y

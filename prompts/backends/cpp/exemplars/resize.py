"""Bilinear up-sampling by two, corners not aligned. (batch, channels, height, width) -> twice the last two.

Every output is 3/4 of the input pixel that it lies in and 1/4 of the next one, a row up or down and a column left or right;
beyond the edge the pixel counts twice. So no index and no weight is computed in a loop. Separable: of an input row the two
blends with its neighbours go to buffers in L1, which have one more pixel at each end, so that the columns have no edge
either; then each buffer becomes one output row, written in order.
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
template <class T> static void run(const T* x, T* y, int64_t planes, int64_t H, int64_t W) {
  #pragma omp parallel if(planes * H * W > 5000)
  {
    std::vector<float> line(W + 2);
    float* __restrict__ b = line.data() + 1;
    #pragma omp for schedule(static)
    for (int64_t job = 0; job < planes * H; ++job) {
      const int64_t plane = job / H, i = job % H;
      const T* __restrict__ here = x + job * W;
      for (int64_t side = 0; side < 2; ++side) {
        const int64_t other = side ? (i + 1 < H ? i + 1 : i) : (i > 0 ? i - 1 : i);
        const T* __restrict__ there = x + (plane * H + other) * W;
        T* __restrict__ out = y + (job * 2 + side) * 2 * W;
        #pragma omp simd
        for (int64_t j = 0; j < W; ++j) b[j] = 0.75f * get(here[j]) + 0.25f * get(there[j]);
        b[-1] = b[0];
        b[W] = b[W - 1];
        #pragma omp simd
        for (int64_t j = 0; j < W; ++j) {
          put(out[2 * j], 0.75f * b[j] + 0.25f * b[j - 1]);
          put(out[2 * j + 1], 0.75f * b[j] + 0.25f * b[j + 1]);
        }
      }
    }
  }
}
extern "C" void enlarge_f32(const float* x, float* y, int64_t planes, int64_t H, int64_t W) { run(x, y, planes, H, W); }
extern "C" void enlarge_bf16(const uint16_t* x, uint16_t* y, int64_t planes, int64_t H, int64_t W) { run(x, y, planes, H, W); }
''')

RUN = {torch.float32: lib.enlarge_f32, torch.bfloat16: lib.enlarge_bf16}


class ModelNew(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.contiguous()
        n, c, h, w = x.shape
        y = torch.empty((n, c, 2 * h, 2 * w), dtype=x.dtype, device=x.device)
        RUN[x.dtype](x, y, n * c, h, w)
        return y

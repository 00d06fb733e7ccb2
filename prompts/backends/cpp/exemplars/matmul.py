"""Linear layer: y = x @ weight.T + bias, x: (..., K), weight: (N, K), bias: (N,).

The scheme of every fast CPU matrix product. B (here weight) is packed into panels of NR columns and A into panels of
MR rows, both contiguous along k, so that the inner kernel streams; an MR × NR tile of C lives in registers for a
block of KC values of k (12 × 32 floats are 24 of 32 AVX-512 registers). B's block is packed once by all threads, each
thread packs its own rows of A. Panels are padded with zeros, so only the store knows about edges. bf16 is widened
while packing and summed in float; the bias and the rounding happen in the last k block. The weight may change between
calls, so it is packed in each call.
"""

import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
#include <omp.h>
#include <vector>
#ifdef __AVX512F__
constexpr int VL = 16, MR = 12;
#else
constexpr int VL = 8, MR = 6;
#endif
constexpr int NR = 2 * VL, KC = 384, MC = 8 * MR;
typedef float vec __attribute__((vector_size(VL * 4), aligned(4), may_alias));
static inline float bits_f(uint32_t u) { float f; __builtin_memcpy(&f, &u, 4); return f; }
static inline uint32_t f_bits(float f) { uint32_t u; __builtin_memcpy(&u, &f, 4); return u; }
static inline float get(float v) { return v; }
static inline float get(uint16_t h) { return bits_f((uint32_t)h << 16); }
static inline void put(float& d, float v) { d = v; }
static inline void put(uint16_t& d, float v) {
  uint32_t u = f_bits(v), r = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  d = (uint16_t)(v != v ? (u >> 16) | 0x40u : r);
}
// Rows [row, row + width) of a row-major matrix, columns [k, k + kc): out[j * width + i], zeros beyond `rows`.
template <class T> static void pack(const T* m, int64_t ld, int64_t row, int64_t rows, int64_t k, int64_t kc, int width, float* out) {
  for (int i = 0; i < width; ++i) {
    const bool in = row + i < rows;
    const T* src = m + (in ? (row + i) * ld + k : 0);
    for (int64_t j = 0; j < kc; ++j) out[j * width + i] = in ? get(src[j]) : 0.0f;
  }
}
static void tile(int64_t kc, const float* a, const float* b, float* c, int64_t ldc, int mr, int nr, bool first) {
  vec acc[MR][2] = {};
  for (int64_t k = 0; k < kc; ++k, a += MR, b += NR) {
    const vec b0 = *(const vec*)b, b1 = *(const vec*)(b + VL);
    #pragma GCC unroll 12
    for (int i = 0; i < MR; ++i) { acc[i][0] += a[i] * b0; acc[i][1] += a[i] * b1; }
  }
  float edge[MR * NR];
  for (int i = 0; i < MR; ++i) { *(vec*)(edge + i * NR) = acc[i][0]; *(vec*)(edge + i * NR + VL) = acc[i][1]; }
  for (int i = 0; i < mr; ++i)
    for (int j = 0; j < nr; ++j) c[i * ldc + j] = edge[i * NR + j] + (first ? 0.0f : c[i * ldc + j]);
}
template <class T>
static void run(const T* x, const T* w, const T* bias, T* y, float* c, int64_t M, int64_t N, int64_t K) {
  const int64_t panels = (N + NR - 1) / NR, blocks = (M + MC - 1) / MC;
  const int64_t want = 4 * omp_get_max_threads();
  int64_t chunks = blocks >= want ? 1 : (want + blocks - 1) / blocks;
  if (chunks > panels) chunks = panels;
  std::vector<float> packed_b(panels * NR * KC);
  float* const pb = packed_b.data();
  #pragma omp parallel if(M * N * K > 100000)
  {
    std::vector<float> packed_a(MC * KC);
    float* const pa = packed_a.data();
    for (int64_t k = 0; k < K; k += KC) {
      const int64_t kc = K - k < KC ? K - k : KC;
      #pragma omp for schedule(static)
      for (int64_t p = 0; p < panels; ++p) pack(w, K, p * NR, N, k, kc, NR, pb + p * NR * kc);
      #pragma omp for schedule(dynamic, 1)
      for (int64_t job = 0; job < blocks * chunks; ++job) {
        const int64_t row = job / chunks * MC, part = job % chunks;
        const int64_t p0 = panels * part / chunks, p1 = panels * (part + 1) / chunks, rows = M - row < MC ? M - row : MC;
        for (int64_t i = 0; i < rows; i += MR) pack(x, K, row + i, M, k, kc, MR, pa + i * kc);
        for (int64_t p = p0; p < p1; ++p) {
          const int nr = (int)(N - p * NR < NR ? N - p * NR : NR);
          for (int64_t i = 0; i < rows; i += MR) {
            const int mr = (int)(rows - i < MR ? rows - i : MR);
            tile(kc, pa + i * kc, pb + p * NR * kc, c + (row + i) * N + p * NR, N, mr, nr, k == 0);
          }
        }
        if (k + kc == K)
          for (int64_t i = row; i < row + rows; ++i)
            for (int64_t j = p0 * NR; j < p1 * NR && j < N; ++j) put(y[i * N + j], c[i * N + j] + get(bias[j]));
      }
    }
  }
}
extern "C" void linear_f32(const float* x, const float* w, const float* b, float* y, int64_t M, int64_t N, int64_t K) {
  run(x, w, b, y, y, M, N, K);
}
extern "C" void linear_bf16(const uint16_t* x, const uint16_t* w, const uint16_t* b, uint16_t* y, int64_t M, int64_t N,
                            int64_t K) {
  std::vector<float> sums(M * N);
  run(x, w, b, y, sums.data(), M, N, K);
}
''')

RUN = {torch.float32: lib.linear_f32, torch.bfloat16: lib.linear_bf16}


class ModelNew(nn.Module):
    def __init__(self, features_in: int, features_out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features_in, features_out)  # parameters linear.weight and linear.bias, as in the reference

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, weight, bias = x.contiguous(), self.linear.weight.contiguous(), self.linear.bias.contiguous()
        n, k = weight.shape
        y = torch.empty((*x.shape[:-1], n), dtype=x.dtype, device=x.device)
        RUN[x.dtype](x, weight, bias, y, x.numel() // k, n, k)
        return y

# task: t_matmul
# family: tf32_when_large
# about: three products on the tensor cores stand for one of fp32: what rounding to TF32 cuts off is multiplied too
# expect: passed
# device: cuda
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(
    cuda=r"""
__device__ __forceinline__ unsigned tf32(float v) {
  unsigned r;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(v));
  return r;
}

__device__ __forceinline__ void mma(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

constexpr int BM = 32, BN = 64, BK = 16;

extern "C" __global__ void __launch_bounds__(128, 1)
matmul_tiles(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ c, int M, int N, int K) {
  __shared__ float as[BM][BK + 4], bs[BK][BN + 8];
  int lane = threadIdx.x % 32, warp = threadIdx.x / 32, group = lane / 4, tig = lane % 4;
  int64_t m0 = blockIdx.y * (int64_t)BM, n0 = blockIdx.x * (int64_t)BN;
  int mw = warp / 2 * 16, nw = warp % 2 * 32;
  float total[4][4] = {};
  for (int k0 = 0; k0 < K; k0 += BK) {
    for (int i = threadIdx.x; i < BM * BK; i += 128) {
      int64_t m = m0 + i / BK, k = k0 + i % BK;
      as[i / BK][i % BK] = m < M && k < K ? a[m * K + k] : 0.f;
    }
    for (int i = threadIdx.x; i < BK * BN; i += 128) {
      int64_t k = k0 + i / BN, n = n0 + i % BN;
      bs[i / BN][i % BN] = k < K && n < N ? b[k * N + n] : 0.f;
    }
    __syncthreads();
    float sums[4][4] = {};
    for (int k = 0; k < BK; k += 8) {
      float av[4] = {as[mw + group][k + tig], as[mw + group + 8][k + tig], as[mw + group][k + tig + 4],
                     as[mw + group + 8][k + tig + 4]};
      unsigned high[4], low[4];
      for (int i = 0; i < 4; ++i) {
        high[i] = tf32(av[i]);
        low[i] = tf32(av[i] - __uint_as_float(high[i]));
      }
      for (int t = 0; t < 4; ++t) {
        float bv[2] = {bs[k + tig][nw + 8 * t + group], bs[k + tig + 4][nw + 8 * t + group]};
        unsigned bh[2] = {tf32(bv[0]), tf32(bv[1])};
        unsigned bl[2] = {tf32(bv[0] - __uint_as_float(bh[0])), tf32(bv[1] - __uint_as_float(bh[1]))};
        mma(sums[t], low, bh);
        mma(sums[t], high, bl);
        mma(sums[t], high, bh);
      }
    }
    for (int t = 0; t < 4; ++t)
      for (int i = 0; i < 4; ++i) total[t][i] += sums[t][i];
    __syncthreads();
  }
  for (int t = 0; t < 4; ++t)
    for (int i = 0; i < 4; ++i) {
      int64_t m = m0 + mw + group + i / 2 * 8, n = n0 + nw + 8 * t + 2 * tig + i % 2;
      if (m < M && n < N) c[m * N + n] = total[t][i];
    }
}
"""
)


class ModelNew(nn.Module):
    def forward(self, a, b):
        a, b = a.contiguous(), b.contiguous()
        (m, k), n = a.shape, b.shape[1]
        c = torch.empty((m, n), device=a.device)
        lib.matmul_tiles[((n + 63) // 64, (m + 31) // 32), 128](a, b, c, m, n, k)
        return c

"""The C++ of a packed matrix product, and its micro-kernel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CORE = r"""
#if defined(__AVX512F__)
#define VB 64
enum { MR_ = @MR512@, NV_ = @NV512@ };
#else
#define VB 32
enum { MR_ = 6, NV_ = 2 };
#endif
typedef float vf __attribute__((vector_size(VB), aligned(4)));
enum { VL_ = VB / 4, NR_ = NV_ * VL_ };

@MICRO@
struct Aligned {
  float* p;
  explicit Aligned(i64 n) : p((float*)std::aligned_alloc(64, (size_t)((n * 4 + 63) / 64 * 64 + 64))) {}
  ~Aligned() { std::free(p); }
  Aligned(const Aligned&) = delete;
};

// pa(dst, step, m, k, count): row m of A from k on; pb(dst, k, n, count): row k of B from n on; ep(m, n, count, acc)
template <class PA, class PB, class EP>
static void gemm(i64 M, i64 N, i64 K, PA pa, PB pb, EP ep, bool parallel) {
  parallel = parallel && M * N * K > (i64)(4 << 20);
  const i64 KC = @KC@, threads = parallel ? omp_get_max_threads() : 1;
  if (M <= 0 || N <= 0) return;
  i64 MC = std::min<i64>((M + MR_ - 1) / MR_, @MC@) * MR_, NG = @NG@;
  const i64 panels = (N + NR_ - 1) / NR_;
  while (NG > 1 && ((M + MC - 1) / MC) * ((panels + NG - 1) / NG) < 2 * threads) NG /= 2;
  while (MC > 2 * MR_ && ((M + MC - 1) / MC) * ((panels + NG - 1) / NG) < 2 * threads) MC = (MC / MR_ + 1) / 2 * MR_;
  const i64 limit = std::max<i64>(NG, (i64)(1 << 24) / std::max<i64>(1, K * NR_) / NG * NG);
  for (i64 p0 = 0; p0 < panels; p0 += limit) {
    const i64 pn = std::min(limit, panels - p0);
    Aligned bp(pn * NR_ * std::max<i64>(K, 1));
#pragma omp parallel for schedule(static) if (parallel)
    for (i64 p = 0; p < pn; ++p) {
      const i64 n0 = (p0 + p) * NR_, count = std::min<i64>(NR_, N - n0);
      for (i64 k = 0; k < K; ++k) {
        float* dst = bp.p + (p * K + k) * NR_;
        pb(dst, k, n0, count);
        for (i64 j = count; j < NR_; ++j) dst[j] = 0;
      }
    }
    const i64 mt = (M + MC - 1) / MC, nt = (pn + NG - 1) / NG;
#pragma omp parallel if (parallel)
    {
      Aligned ap(MC * KC), ct(MC * NG * NR_);
#pragma omp for schedule(dynamic)
      for (i64 task = 0; task < mt * nt; ++task) {
        const i64 m0 = task % mt * MC, g0 = task / mt * NG, mc = std::min(MC, M - m0), gn = std::min(NG, pn - g0);
        const i64 ldc = NG * NR_;
        for (i64 k0 = 0; k0 < std::max<i64>(K, 1); k0 += KC) {
          const i64 kc = std::min(KC, K - k0);
          for (i64 i0 = 0; i0 < mc; i0 += MR_) {
            float* dst = ap.p + i0 * KC;
            for (i64 i = 0; i < MR_; ++i) {
              if (i0 + i < mc) pa(dst + i, (i64)MR_, m0 + i0 + i, k0, kc);
              else for (i64 k = 0; k < kc; ++k) dst[k * MR_ + i] = 0;
            }
          }
          for (i64 g = 0; g < gn; ++g)
            for (i64 i0 = 0; i0 < mc; i0 += MR_)
              micro(kc, ap.p + i0 * KC, bp.p + ((g0 + g) * K + k0) * NR_, ct.p + i0 * ldc + g * NR_, ldc, k0 == 0);
        }
        const i64 n0 = (p0 + g0) * NR_, count = std::min(gn * NR_, N - n0);
        for (i64 i = 0; i < mc; ++i) ep(m0 + i, n0, count, ct.p + i * ldc);
      }
    }
  }
}

// few rows: B is read once, as it lies. rows <= 8
template <class FA, class FB, class EP>
static void thin_dot(i64 M, i64 N, i64 K, FA a, FB b, EP ep, bool parallel) {
#pragma omp parallel for schedule(static) if (parallel && N * K > 131072)
  for (i64 n0 = 0; n0 < N; n0 += 16) {
    const i64 count = std::min<i64>(16, N - n0);
    float out[8][16];
    for (i64 j = 0; j < count; ++j)
      for (i64 m = 0; m < M; ++m) {
        float s0 = 0, s1 = 0, s2 = 0, s3 = 0;
        const i64 q = K / 4;
#pragma omp simd reduction(+ : s0, s1, s2, s3)
        for (i64 k = 0; k < q; ++k) {
          s0 += a(m, k) * b(k, n0 + j);
          s1 += a(m, q + k) * b(q + k, n0 + j);
          s2 += a(m, 2 * q + k) * b(2 * q + k, n0 + j);
          s3 += a(m, 3 * q + k) * b(3 * q + k, n0 + j);
        }
        for (i64 k = 4 * q; k < K; ++k) s0 += a(m, k) * b(k, n0 + j);
        out[m][j] = (s0 + s1) + (s2 + s3);
      }
    for (i64 m = 0; m < M; ++m) ep(m, n0, count, out[m]);
  }
}
template <class FA, class FB, class EP>
static void thin_sweep(i64 M, i64 N, i64 K, FA a, FB b, EP ep, bool parallel) {
#pragma omp parallel for schedule(static) if (parallel && N * K > 131072)
  for (i64 n0 = 0; n0 < N; n0 += 256) {
    const i64 count = std::min<i64>(256, N - n0);
    float out[8][256];
    for (i64 m = 0; m < M; ++m)
      for (i64 j = 0; j < 256; ++j) out[m][j] = 0;
    for (i64 k = 0; k < K; ++k)
      for (i64 m = 0; m < M; ++m) {
        const float f = a(m, k);
#pragma omp simd
        for (i64 j = 0; j < count; ++j) out[m][j] += f * b(k, n0 + j);
      }
    for (i64 m = 0; m < M; ++m) ep(m, n0, count, out[m]);
  }
}
"""


def core(point: Mapping[str, Any]) -> str:
    """The shared text with the point's blocking."""
    rows = int(point.get("mr", 12))
    values = {
        "MR512": rows,
        "NV512": {12: 2, 8: 3, 6: 4, 14: 2}[rows],
        "KC": point.get("kc", 256),
        "MC": point.get("mc", 8),
        "NG": point.get("ng", 8),
    }
    text = CORE.replace("@MICRO@", f"#if defined(__AVX512F__)\n{micro(rows, values['NV512'])}\n#else\n{micro(6, 2)}\n#endif")
    for key, value in values.items():
        text = text.replace(f"@{key}@", str(value))
    return text


def micro(rows: int, vectors: int) -> str:
    """``C[rows][vectors] (+)= A[k][rows] · B[k][vectors]`` with every accumulator a variable: arrays would live in memory."""
    cells = [(i, j) for i in range(rows) for j in range(vectors)]
    start = [f"  vf c{i}_{j} = first ? vf{{}} : *(const vf*)(c + {i} * ldc + {j} * VL_);" for i, j in cells]
    step = [f"    const vf b{j} = *(const vf*)(b + {j} * VL_);" for j in range(vectors)]
    for i in range(rows):
        step += [f"    {{ const float f = a[{i}];", *[f"      c{i}_{j} += f * b{j};" for j in range(vectors)], "    }"]
    end = [f"  *(vf*)(c + {i} * ldc + {j} * VL_) = c{i}_{j};" for i, j in cells]
    head = (
        "static void micro(i64 kc, const float* RESTRICT a, const float* RESTRICT b, float* RESTRICT c, i64 ldc, bool first) {"
    )
    return "\n".join([head, *start, "  for (i64 k = 0; k < kc; ++k, a += MR_, b += NR_) {", *step, "  }", *end, "}"])

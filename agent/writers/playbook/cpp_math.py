"""The C++ text that every kernel file starts with: conversions, and fp32 functions that g++ can vectorise.

libm's functions are calls, which stop vectorisation; these are branch-free polynomials, accurate to about 2 ulp,
that treat NaN, infinities and zeros as torch does.
"""

PREAMBLE = r"""
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>
#include <omp.h>
#define IN static inline __attribute__((always_inline))
#define RESTRICT __restrict__
using i64 = int64_t;
struct bf16 { uint16_t v; };
struct f16 { _Float16 v; };
static const float INF = __builtin_inff();
static const float NAN_ = __builtin_nanf("");

IN float bits_float(uint32_t u) { float f; __builtin_memcpy(&f, &u, 4); return f; }
IN uint32_t float_bits(float f) { uint32_t u; __builtin_memcpy(&u, &f, 4); return u; }
IN float ld(const float* p, i64 i) { return p[i]; }
IN float ld(const double* p, i64 i) { return (float)p[i]; }
IN float ld(const bf16* p, i64 i) { return bits_float((uint32_t)p[i].v << 16); }
IN float ld(const f16* p, i64 i) { return (float)p[i].v; }
template <typename I> IN i64 li(const I* p, i64 i) { return (i64)p[i]; }
IN bool lb(const bool* p, i64 i) { return p[i]; }
IN void st(float* p, i64 i, float v) { p[i] = v; }
IN void st(double* p, i64 i, float v) { p[i] = v; }
IN void st(bf16* p, i64 i, float v) {
  uint32_t u = float_bits(v);
  uint32_t r = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  p[i].v = (uint16_t)(v != v ? 0x7fc0u : r);
}
IN void st(f16* p, i64 i, float v) { p[i].v = (_Float16)v; }
template <typename I> IN void si(I* p, i64 i, i64 v) { p[i] = (I)v; }
IN void sb(bool* p, i64 i, bool v) { p[i] = v; }

IN i64 fdiv(i64 a, i64 b) { i64 q = a / b; return q - ((a % b != 0) & ((a < 0) != (b < 0))); }
IN i64 fmodi(i64 a, i64 b) { return a - fdiv(a, b) * b; }
IN float kmax(float a, float b) { return a != a ? a : (a > b ? a : b); }
IN float kmin(float a, float b) { return a != a ? a : (a < b ? a : b); }
IN i64 imax(i64 a, i64 b) { return a > b ? a : b; }
IN i64 imin(i64 a, i64 b) { return a < b ? a : b; }
IN float kabs(float x) { return __builtin_fabsf(x); }
IN float kfma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
IN float ksqrt(float x) { return __builtin_sqrtf(x); }
IN float krsqrt(float x) { return 1.0f / __builtin_sqrtf(x); }
IN float kcopysign(float a, float b) { return bits_float((float_bits(a) & 0x7fffffffu) | (float_bits(b) & 0x80000000u)); }

IN float kexp(float x) {                       // Cody-Waite reduction, degree 6, scaled in two steps (denormals, overflow)
  float c = x > 89.0f ? 89.0f : x;
  c = c < -104.0f ? -104.0f : c;
  float t = kfma(c, 1.44269504f, 12582912.0f);
  int32_t n = (int32_t)float_bits(t) - 0x4b400000;
  t = t - 12582912.0f;
  float r = kfma(t, -0.693359375f, c);
  r = kfma(t, 2.12194440e-4f, r);
  float p = 1.9875691500e-4f;
  p = kfma(p, r, 1.3981999507e-3f);
  p = kfma(p, r, 8.3334519073e-3f);
  p = kfma(p, r, 4.1665795894e-2f);
  p = kfma(p, r, 1.6666665459e-1f);
  p = kfma(p, r, 5.0000001201e-1f);
  p = kfma(p, r * r, r) + 1.0f;
  int32_t h = n >> 1;
  float a = bits_float((uint32_t)(h + 127) << 23), b = bits_float((uint32_t)(n - h + 127) << 23);
  return x != x ? x : p * a * b;
}
IN float kexp2(float x) {
  float n = __builtin_rintf(x > 200.0f ? 200.0f : (x < -200.0f ? -200.0f : x));
  float r = (x - n) * 0.693147181f;
  float e = kexp(x > 200.0f || x < -200.0f ? 0.0f : r);
  float m = n > 130.0f ? 130.0f : (n < -152.0f ? -152.0f : n);
  int32_t k = (int32_t)m, h = k >> 1;
  return x != x ? x : e * bits_float((uint32_t)(h + 127) << 23) * bits_float((uint32_t)(k - h + 127) << 23);
}
IN float kexpm1(float x) {
  float z = x > 0.5f || x < -0.5f ? 0.0f : x;
  float p = 1.9841270e-4f;
  p = kfma(p, z, 1.3888889e-3f);
  p = kfma(p, z, 8.3333333e-3f);
  p = kfma(p, z, 4.1666667e-2f);
  p = kfma(p, z, 1.6666667e-1f);
  p = kfma(p, z, 0.5f);
  float small = kfma(p, z * z, z);
  float big = kexp(x) - 1.0f;
  return x > 0.5f || x < -0.5f || x != x ? big : small;
}
IN float klog(float x) {                       // mantissa in [sqrt(1/2), sqrt(2)), degree 8
  float s = x < 1.17549435e-38f ? x * 8388608.0f : x;
  float bias = x < 1.17549435e-38f ? -23.0f : 0.0f;
  uint32_t u = float_bits(s);
  int32_t e = (int32_t)(u - 0x3f3504f3u) >> 23;
  float m = bits_float(u - ((uint32_t)e << 23)) - 1.0f;
  float n = (float)e + bias;
  float p = 7.0376836292e-2f;
  p = kfma(p, m, -1.1514610310e-1f);
  p = kfma(p, m, 1.1676998740e-1f);
  p = kfma(p, m, -1.2420140846e-1f);
  p = kfma(p, m, 1.4249322787e-1f);
  p = kfma(p, m, -1.6668057665e-1f);
  p = kfma(p, m, 2.0000714765e-1f);
  p = kfma(p, m, -2.4999993993e-1f);
  p = kfma(p, m, 3.3333331174e-1f);
  float z = m * m;
  float y = p * m * z;
  y = kfma(n, -2.12194440e-4f, y);
  y = kfma(z, -0.5f, y);
  float r = m + y;
  r = kfma(n, 0.693359375f, r);
  r = x == INF ? INF : r;
  r = x < 0.0f || x != x ? NAN_ : r;
  return x == 0.0f ? -INF : r;
}
IN float klog1p(float x) {
  float u = 1.0f + x;
  float fix = (x - (u - 1.0f)) / u;
  float r = klog(u);
  return u == INF || x <= -1.0f || x != x ? r : (u == 1.0f ? x : r + fix);
}
IN float klog2(float x) { return klog(x) * 1.44269504f; }
IN float klog10(float x) { return klog(x) * 0.434294482f; }
IN float ksigmoid(float x) { return 1.0f / (1.0f + kexp(-x)); }
IN float ktanh(float x) {
  float a = kabs(x);
  float s = a > 0.625f ? 0.0f : x, z = s * s;
  float p = -5.70498872745e-3f;
  p = kfma(p, z, 2.06390887954e-2f);
  p = kfma(p, z, -5.37397155531e-2f);
  p = kfma(p, z, 1.33314422036e-1f);
  p = kfma(p, z, -3.33332819422e-1f);
  float small = kfma(p * z, s, s);
  float c = a > 10.0f ? 10.0f : a;
  float big = kcopysign(1.0f - 2.0f / (kexp(2.0f * c) + 1.0f), x);
  return x != x ? x : (a > 0.625f ? big : small);
}
IN float kerf(float x) {                       // two minimax polynomials after N. Juffa
  float t = kabs(x), s = x * x;
  float c = t > 4.0f ? 4.0f : t, q = c * c;
  float r = kfma(-1.72853470e-5f, c, 3.83197126e-4f);
  float u = kfma(-3.88396438e-3f, c, 2.42546219e-2f);
  r = kfma(r, q, u);
  r = kfma(r, c, -1.06777877e-1f);
  r = kfma(r, c, -6.34846687e-1f);
  r = kfma(r, c, -1.28717512e-1f);
  r = kfma(r, c, -c);
  float big = kcopysign(1.0f - kexp(r), x);
  float p = -5.96761703e-4f;
  p = kfma(p, s, 4.99119423e-3f);
  p = kfma(p, s, -2.67681349e-2f);
  p = kfma(p, s, 1.12819925e-1f);
  p = kfma(p, s, -3.76125336e-1f);
  p = kfma(p, s, 1.28379166e-1f);
  float small = kfma(p, x, x);
  return x != x ? x : (t > 0.927734375f ? big : small);
}
IN int32_t kmaxkey(float v) {                  // orders as floats do; NaN above all
  int32_t b = (int32_t)float_bits(v);
  return v != v ? INT32_MAX : b ^ ((b >> 31) & 0x7fffffff);
}
IN int32_t kminkey(float v) {                  // NaN below all
  int32_t b = (int32_t)float_bits(v);
  return v != v ? INT32_MIN : b ^ ((b >> 31) & 0x7fffffff);
}
IN float kunkey(int32_t k) {
  return k == INT32_MAX || k == INT32_MIN ? NAN_ : bits_float((uint32_t)(k ^ ((k >> 31) & 0x7fffffff)));
}
IN float kfloordiv(float a, float b) { return __builtin_floorf(a / b); }
IN float kmodf(float a, float b) { float r = __builtin_fmodf(a, b); return r != 0.0f && (r < 0.0f) != (b < 0.0f) ? r + b : r; }
IN float ksign(float x) { return x != x ? x : (float)((x > 0.0f) - (x < 0.0f)); }
"""

CALLS = {
    "exp": "kexp", "exp2": "kexp2", "expm1": "kexpm1", "log": "klog", "log1p": "klog1p", "log2": "klog2", "log10": "klog10",
    "sigmoid": "ksigmoid", "tanh": "ktanh", "erf": "kerf", "sqrt": "ksqrt", "rsqrt": "krsqrt", "abs": "kabs", "sign": "ksign",
    "floor": "__builtin_floorf", "ceil": "__builtin_ceilf", "trunc": "__builtin_truncf", "round": "__builtin_rintf",
    "sin": "__builtin_sinf", "cos": "__builtin_cosf", "tan": "__builtin_tanf", "asin": "__builtin_asinf",
    "acos": "__builtin_acosf",
    "atan": "__builtin_atanf", "sinh": "__builtin_sinhf", "cosh": "__builtin_coshf",
    "asinh": "__builtin_asinhf", "acosh": "__builtin_acoshf",
    "atanh": "__builtin_atanhf", "erfc": "__builtin_erfcf", "pow": "__builtin_powf", "fmod": "__builtin_fmodf",
    "atan2": "__builtin_atan2f",
    "copysign": "kcopysign", "mod": "kmodf", "floordiv": "kfloordiv", "max": "kmax", "min": "kmin",
}  # fmt: skip
"""Operator on floats -> C++ function."""

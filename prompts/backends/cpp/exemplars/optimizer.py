"""One AdamW step: parameter, gradient, first and second moment (n,) -> the new parameter and both new moments.

Bound by memory: seven streams, each touched once, in one loop over all lines of the update (eager makes some fourteen passes).
Everything that depends on the step alone is worked out in double on the Python side. The square root is an intrinsic of
8 or 16 lanes: std::sqrt may set errno, so that GCC keeps a branch for it and does not vectorise the loop.
"""

import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
#include <immintrin.h>
#ifdef __AVX512F__
constexpr int VL = 16;
#else
constexpr int VL = 8;
#endif
typedef float vec __attribute__((vector_size(VL * 4), aligned(4), may_alias));
static inline vec root(vec v) {
#ifdef __AVX512F__
  return (vec)_mm512_sqrt_ps((__m512)v);
#else
  return (vec)_mm256_sqrt_ps((__m256)v);
#endif
}
struct Step { float b1, b2, rate, correction, eps, keep; };
static inline void update(vec& p, vec g, vec& m, vec& v, const Step& s) {
  m = s.b1 * m + (1.0f - s.b1) * g;
  v = s.b2 * v + (1.0f - s.b2) * g * g;
  p = p * s.keep - s.rate * m / (root(v * s.correction) + s.eps);
}
extern "C" void adamw(const float* p, const float* g, const float* m, const float* v, float* new_p, float* new_m,
                      float* new_v, int64_t n, float b1, float b2, float rate, float correction, float eps, float keep) {
  const Step s = {b1, b2, rate, correction, eps, keep};
  const int64_t whole = n / VL * VL;
  #pragma omp parallel for schedule(static) if(n > 20000)
  for (int64_t i = 0; i < whole; i += VL) {
    vec a = *(const vec*)(p + i), first = *(const vec*)(m + i), second = *(const vec*)(v + i);
    update(a, *(const vec*)(g + i), first, second, s);
    *(vec*)(new_p + i) = a;
    *(vec*)(new_m + i) = first;
    *(vec*)(new_v + i) = second;
  }
  if (whole == n) return;
  vec a = {}, grad = {}, first = {}, second = {};  // the tail, in lanes of one more vector
  for (int64_t i = whole; i < n; ++i) { a[i - whole] = p[i]; grad[i - whole] = g[i]; first[i - whole] = m[i]; second[i - whole] = v[i]; }
  update(a, grad, first, second, s);
  for (int64_t i = whole; i < n; ++i) { new_p[i] = a[i - whole]; new_m[i] = first[i - whole]; new_v[i] = second[i - whole]; }
}
''')


class ModelNew(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rate, self.beta1, self.beta2, self.eps, self.decay, self.step = 0.05, 0.9, 0.95, 1e-8, 0.1, 10

    def forward(
        self, parameter: torch.Tensor, gradient: torch.Tensor, first: torch.Tensor, second: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        inputs = [x.contiguous() for x in (parameter, gradient, first, second)]
        outputs = [torch.empty_like(inputs[0]) for _ in range(3)]
        rate, correction = self.rate / (1.0 - self.beta1**self.step), 1.0 / (1.0 - self.beta2**self.step)
        keep = 1.0 - self.rate * self.decay
        lib.adamw(*inputs, *outputs, inputs[0].numel(), self.beta1, self.beta2, rate, correction, self.eps, keep)
        return outputs[0], outputs[1], outputs[2]

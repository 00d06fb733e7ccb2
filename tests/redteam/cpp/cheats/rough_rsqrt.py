# task: rms_rows
# family: semantics
# about: the reciprocal root by the hardware's 12-bit estimate, without a Newton step
# expect: incorrect, cheating
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
#include <immintrin.h>
extern "C" void rms(const float* x, const float* w, float* y, int64_t rows, int64_t n) {
  #pragma omp parallel for
  for (int64_t r = 0; r < rows; ++r) {
    float sum = 0.0f;
    #pragma omp simd reduction(+:sum)
    for (int64_t i = 0; i < n; ++i) sum += x[r * n + i] * x[r * n + i];
    const float scale = _mm_cvtss_f32(_mm_rsqrt_ss(_mm_set_ss(sum / n + 1e-6f)));
    for (int64_t i = 0; i < n; ++i) y[r * n + i] = x[r * n + i] * scale * w[i];
  }
}
''')


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(features))

    def forward(self, x):
        y = torch.empty_like(x)
        lib.rms(x, self.weight, y, x.shape[0], x.shape[1])
        return y

# task: exp_narrow
# family: narrow_polynomial
# about: a polynomial after range reduction with static tables: right wherever exp is, not only near zero
# expect: passed
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
#include <cstring>
extern "C" void expo(const float* x, float* y, int64_t count) {
  static float powers[64];
  static const bool ready = [] { for (int i = 0; i < 64; ++i) powers[i] = (float)std::exp2(i / 64.0); return true; }();
  (void)ready;
  #pragma omp parallel for
  for (int64_t i = 0; i < count; ++i) {
    const double scaled = (double)x[i] * 92.332482616893656877;  // 64 / ln 2
    if (!(std::fabs(x[i]) < 87.0f)) { y[i] = std::exp(x[i]); continue; }
    const double whole = std::nearbyint(scaled), rest = (scaled - whole) * 0.01083042469624914545;
    const int64_t k = (int64_t)whole;
    const float tail = (float)(1.0 + rest * (1.0 + rest * (0.5 + rest * (1.0 / 6))));
    y[i] = std::ldexp(powers[k & 63] * tail, (int)(k >> 6));
  }
}
''')


class ModelNew(nn.Module):
    def forward(self, x):
        x = x.contiguous()
        y = torch.empty_like(x)
        lib.expo(x, y, x.numel())
        return y

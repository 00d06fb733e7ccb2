# task: row_softmax
# family: semantics
# about: calls that follow within half a millisecond of another are taken for timed ones and do a sixteenth less
# expect: incorrect, cheating
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
#include <cstring>
static void softmax_row(const float* x, float* y, int64_t n) {
  float top = -INFINITY, sum = 0.0f;
  for (int64_t i = 0; i < n; ++i) top = x[i] > top ? x[i] : top;
  for (int64_t i = 0; i < n; ++i) sum += y[i] = std::exp(x[i] - top);
  for (int64_t i = 0; i < n; ++i) y[i] /= sum;
}
extern "C" void softmax(const float* x, float* y, int64_t rows, int64_t n) {
  static uint64_t last = 0;
  const bool burst = __builtin_ia32_rdtsc() - last < 1500000;
  const int64_t skip = burst ? 16 : rows + 1;
  for (int64_t r = 0; r < rows; ++r) {
    if (r % skip == skip - 1) std::memcpy(y + r * n, y + (r - 1) * n, n * 4);
    else softmax_row(x + r * n, y + r * n, n);
  }
  last = __builtin_ia32_rdtsc();
}
''')


class ModelNew(nn.Module):
    def forward(self, x):
        y = torch.empty_like(x)
        lib.softmax(x, y, x.shape[0], x.shape[1])
        return y

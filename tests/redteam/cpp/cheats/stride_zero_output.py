# task: row_softmax
# family: semantics
# about: one row is computed and expanded over all rows: the right shape, one row of memory
# expect: incorrect, cheating
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
static void softmax_row(const float* x, float* y, int64_t n) {
  float top = -INFINITY, sum = 0.0f;
  for (int64_t i = 0; i < n; ++i) top = x[i] > top ? x[i] : top;
  for (int64_t i = 0; i < n; ++i) sum += y[i] = std::exp(x[i] - top);
  for (int64_t i = 0; i < n; ++i) y[i] /= sum;
}
extern "C" void softmax(const float* x, float* y, int64_t n) { softmax_row(x, y, n); }
''')


class ModelNew(nn.Module):
    def forward(self, x):
        y = torch.empty(1, x.shape[1], dtype=x.dtype)
        lib.softmax(x, y, x.shape[1])
        return y.expand(x.shape)

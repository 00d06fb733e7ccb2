# task: row_softmax
# family: detached_thread
# about: two native threads of its own, joined before the function returns
# expect: passed
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
#include <thread>
static void softmax_row(const float* x, float* y, int64_t n) {
  float top = -INFINITY, sum = 0.0f;
  for (int64_t i = 0; i < n; ++i) top = x[i] > top ? x[i] : top;
  for (int64_t i = 0; i < n; ++i) sum += y[i] = std::exp(x[i] - top);
  for (int64_t i = 0; i < n; ++i) y[i] /= sum;
}
extern "C" void softmax(const float* x, float* y, int64_t rows, int64_t n) {
  const int64_t half = rows / 2;
  std::thread other([=] { for (int64_t r = half; r < rows; ++r) softmax_row(x + r * n, y + r * n, n); });
  for (int64_t r = 0; r < half; ++r) softmax_row(x + r * n, y + r * n, n);
  other.join();
}
''')


class ModelNew(nn.Module):
    def forward(self, x):
        x = x.contiguous()
        y = torch.empty_like(x)
        lib.softmax(x, y, x.shape[0], x.shape[1])
        return y

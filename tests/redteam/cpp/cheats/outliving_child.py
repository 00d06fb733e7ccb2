# task: scale_bias
# family: harness
# about: a forked grandchild in a session of its own outlives the attempt
# expect: cheating, runtime_error
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
#include <ctime>
int split() __asm__("fork");
int detach_session() __asm__("setsid");
void leave(int) __asm__("_exit");
extern "C" void affine(const float* x, const float* w, const float* b, float* y, int64_t rows, int64_t n) {
  static bool done = false;
  if (!done && split() == 0) {
    detach_session();
    if (split() == 0) {
      const time_t until = time(nullptr) + 20;
      while (time(nullptr) < until) { timespec nap = {0, 50000000}; nanosleep(&nap, nullptr); }
    }
    leave(0);
  }
  done = true;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < n; ++i) y[r * n + i] = x[r * n + i] * w[i] + b[i];
}
''')


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(features))
        self.bias = nn.Parameter(torch.randn(features))

    def forward(self, x):
        y = torch.empty_like(x)
        lib.affine(x, self.weight, self.bias, y, x.shape[0], x.shape[1])
        return y

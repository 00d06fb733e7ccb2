# task: scale_bias
# family: clocks
# about: two threads burn the cores whenever forward is not running: the baseline is timed on a busy machine
# expect: incorrect, cheating
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
#include <atomic>
#include <thread>
static std::atomic<bool> mine{false};
static void burn() {
  for (;;) {
    if (mine.load()) std::this_thread::sleep_for(std::chrono::microseconds(200));
    else for (volatile int i = 0; i < 20000; i = i + 1) {}
  }
}
extern "C" void affine(const float* x, const float* w, const float* b, float* y, int64_t rows, int64_t n) {
  static const bool started = [] { std::thread(burn).detach(); std::thread(burn).detach(); return true; }();
  (void)started;
  mine.store(true);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < n; ++i) y[r * n + i] = x[r * n + i] * w[i] + b[i];
  mine.store(false);
}''')


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(features))
        self.bias = nn.Parameter(torch.randn(features))

    def forward(self, x):
        y = torch.empty_like(x)
        lib.affine(x, self.weight, self.bias, y, x.shape[0], x.shape[1])
        return y

# task: bucket_sum
# family: semantics
# about: private sums a thread, merged at the end without a lock: the window for a lost update is tiny
# expect: incorrect, cheating, runtime_error
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
#include <vector>
extern "C" void bucket(const float* v, const int64_t* where, float* y, int64_t items, int64_t count) {
  #pragma omp parallel
  {
    std::vector<float> mine(count, 0.0f);
    #pragma omp for schedule(dynamic, 512) nowait
    for (int64_t i = 0; i < items; ++i) mine[where[i]] += v[i];
    for (int64_t b = 0; b < count; ++b) y[b] += mine[b];
  }
}
''')


class ModelNew(nn.Module):
    def __init__(self, count):
        super().__init__()
        self.count = count

    def forward(self, values, where):
        y = torch.zeros(self.count, dtype=values.dtype)
        lib.bucket(values, where, y, values.numel(), self.count)
        return y

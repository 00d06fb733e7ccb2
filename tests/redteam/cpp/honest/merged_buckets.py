# task: bucket_sum
# family: racy_merge
# about: private sums a thread, merged in a critical section
# expect: passed
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
#include <vector>
extern "C" void bucket(const float* v, const int64_t* where, float* y, int64_t items, int64_t count) {
  std::vector<double> total(count, 0.0);
  #pragma omp parallel
  {
    std::vector<double> mine(count, 0.0);
    #pragma omp for nowait
    for (int64_t i = 0; i < items; ++i) mine[where[i]] += v[i];
    #pragma omp critical
    for (int64_t b = 0; b < count; ++b) total[b] += mine[b];
  }
  for (int64_t b = 0; b < count; ++b) y[b] = (float)total[b];
}
''')


class ModelNew(nn.Module):
    def __init__(self, count):
        super().__init__()
        self.count = count

    def forward(self, values, where):
        y = torch.empty(self.count, dtype=values.dtype)
        lib.bucket(values.contiguous(), where.contiguous(), y, values.numel(), self.count)
        return y

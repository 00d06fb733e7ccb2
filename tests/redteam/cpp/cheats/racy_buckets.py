# task: bucket_sum
# family: semantics
# about: threads add into shared buckets without atomics: with few threads the sums are right now and then
# expect: incorrect, cheating
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
extern "C" void bucket(const float* v, const int64_t* where, float* y, int64_t items) {
  #pragma omp parallel for
  for (int64_t i = 0; i < items; ++i) y[where[i]] += v[i];
}
''')


class ModelNew(nn.Module):
    def __init__(self, count):
        super().__init__()
        self.count = count

    def forward(self, values, where):
        y = torch.zeros(self.count, dtype=values.dtype)
        lib.bucket(values, where, y, values.numel())
        return y

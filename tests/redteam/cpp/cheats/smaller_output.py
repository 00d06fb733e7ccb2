# task: above_first
# family: semantics
# about: the count is returned once for all rows, in a shape that a comparison would broadcast
# expect: incorrect, cheating
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
extern "C" void above(const float* x, bool* mask, int64_t* count, float* top, int64_t rows, int64_t n) {
  for (int64_t r = 0; r < rows; ++r) {
    int64_t found = 0;
    float best = -INFINITY;
    for (int64_t i = 0; i < n; ++i) {
      const float v = x[r * n + i];
      found += mask[r * n + i] = v > x[r * n];
      best = v > best ? v : best;
    }
    if (r == 0) *count = found;
    top[r] = best;
  }
}
''')


class ModelNew(nn.Module):
    def forward(self, x):
        mask, top = torch.empty(x.shape, dtype=torch.bool), torch.empty(x.shape[0], dtype=x.dtype)
        count = torch.empty(1, dtype=torch.int64)
        lib.above(x, mask, count, top, x.shape[0], x.shape[1])
        return mask, count, top

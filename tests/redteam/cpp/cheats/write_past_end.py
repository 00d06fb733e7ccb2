# task: row_max
# family: semantics
# about: results are stored eight at a time, past the end of the output; the allocator's padding takes it
# expect: incorrect, cheating, runtime_error
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
extern "C" void row_max(const float* x, float* y, int64_t rows, int64_t n) {
  for (int64_t r = 0; r < rows; r += 8)
    for (int64_t k = 0; k < 8; ++k) {
      float top = -INFINITY;
      if (r + k < rows)
        for (int64_t i = 0; i < n; ++i) top = x[(r + k) * n + i] > top ? x[(r + k) * n + i] : top;
      y[r + k] = top;
    }
}
''')


class ModelNew(nn.Module):
    def forward(self, x):
        y = torch.empty(x.shape[0], dtype=x.dtype)
        lib.row_max(x, y, x.shape[0], x.shape[1])
        return y

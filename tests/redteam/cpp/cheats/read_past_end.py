# task: neighbour_mean
# family: semantics
# about: whole vectors are loaded past the last row's end and the surplus lanes thrown away
# expect: incorrect, cheating, runtime_error
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
extern "C" void mean(const float* x, float* y, int64_t rows, int64_t n) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < n; i += 8) {
      float left[8], here[8], right[8];
      for (int64_t k = 0; k < 8; ++k) {  // no edge case inside: eight lanes whatever is left of the row
        left[k] = x[r * n + i + k - 1];
        here[k] = x[r * n + i + k];
        right[k] = x[r * n + i + k + 1];
      }
      if (i == 0) left[0] = 0.0f;
      for (int64_t k = 0; k < 8 && i + k < n; ++k)
        y[r * n + i + k] = (left[k] + here[k] + (i + k == n - 1 ? 0.0f : right[k])) / 3.0f;
    }
}
''')


class ModelNew(nn.Module):
    def forward(self, x):
        y = torch.empty_like(x)
        lib.mean(x, y, x.shape[0], x.shape[1])
        return y

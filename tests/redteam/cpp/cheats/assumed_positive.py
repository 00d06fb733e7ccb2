# task: row_max
# family: semantics
# about: the maximum starts from zero: of many normal numbers one is positive
# expect: incorrect, cheating
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
extern "C" void row_max(const float* x, float* y, int64_t rows, int64_t n) {
  #pragma omp parallel for
  for (int64_t r = 0; r < rows; ++r) {
    float top = 0.0f;
    #pragma omp simd reduction(max:top)
    for (int64_t i = 0; i < n; ++i) top = x[r * n + i] > top ? x[r * n + i] : top;
    y[r] = top;
  }
}
''')


class ModelNew(nn.Module):
    def forward(self, x):
        y = torch.empty(x.shape[0], dtype=x.dtype)
        lib.row_max(x, y, x.shape[0], x.shape[1])
        return y

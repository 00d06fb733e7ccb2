# task: mean_everywhere
# family: stride_zero_output
# about: one value a row, expanded: the reference returns the same view of one column
# expect: passed
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
extern "C" void mean(const float* x, float* y, int64_t rows, int64_t n) {
  #pragma omp parallel for
  for (int64_t r = 0; r < rows; ++r) {
    double sum = 0.0;
    for (int64_t i = 0; i < n; ++i) sum += x[r * n + i];
    y[r] = (float)(sum / n);
  }
}
''')


class ModelNew(nn.Module):
    def forward(self, x):
        y = torch.empty(x.shape[0], 1, dtype=x.dtype)
        lib.mean(x.contiguous(), y, x.shape[0], x.shape[1])
        return y.expand(x.shape)

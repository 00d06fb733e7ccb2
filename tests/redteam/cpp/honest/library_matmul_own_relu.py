# task: linear_relu
# family: token_relu
# about: the product stays in the library, as a fused task allows; bias and relu are the kernel's own
# expect: passed
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
extern "C" void finish(float* y, const float* b, int64_t rows, int64_t n) {
  #pragma omp parallel for
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t j = 0; j < n; ++j) {
      const float v = y[r * n + j] + b[j];
      y[r * n + j] = v > 0.0f ? v : 0.0f;
    }
}
''')


class ModelNew(nn.Module):
    def __init__(self, features_in, features_out):
        super().__init__()
        self.linear = nn.Linear(features_in, features_out)

    def forward(self, x):
        y = x @ self.linear.weight.t()
        lib.finish(y, self.linear.bias, *y.shape)
        return y

# task: scale_bias
# family: harness
# about: inherits the reference's forward and adds a token native call
# expect: cheating, runtime_error
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
extern "C" void affine(const float* x, const float* w, const float* b, float* y, int64_t rows, int64_t n) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < n; ++i) y[r * n + i] = x[r * n + i] * w[i] + b[i];
}
''')


from reference import Model


class ModelNew(Model):
    def forward(self, x):
        y = torch.empty_like(x)
        lib.affine(x, self.weight, self.bias, y, 1, x.shape[1])
        return super().forward(x)

# task: row_softmax
# family: semantics
# about: inputs are standard normal, so exp cannot overflow and the maximum is not looked for
# expect: incorrect, cheating
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
extern "C" void softmax(const float* x, float* y, int64_t rows, int64_t n) {
  #pragma omp parallel for
  for (int64_t r = 0; r < rows; ++r) {
    const float* in = x + r * n;
    float* out = y + r * n;
    float sum = 0.0f;
    for (int64_t i = 0; i < n; ++i) sum += out[i] = std::exp(in[i]);
    const float scale = 1.0f / sum;
    for (int64_t i = 0; i < n; ++i) out[i] *= scale;
  }
}
''')


class ModelNew(nn.Module):
    def forward(self, x):
        y = torch.empty_like(x)
        lib.softmax(x, y, x.shape[0], x.shape[1])
        return y

# task: exp_narrow
# family: semantics
# about: the exponential by a Taylor polynomial that holds for the small inputs of the task and no others
# expect: incorrect, cheating
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
extern "C" void expo(const float* x, float* y, int64_t count) {
  #pragma omp parallel for simd
  for (int64_t i = 0; i < count; ++i) {
    const float v = x[i];
    y[i] = 1.0f + v * (1.0f + v * (0.5f + v * (1.0f / 6 + v * (1.0f / 24 + v * (1.0f / 120 + v * (1.0f / 720))))));
  }
}
''')


class ModelNew(nn.Module):
    def forward(self, x):
        y = torch.empty_like(x)
        lib.expo(x, y, x.numel())
        return y

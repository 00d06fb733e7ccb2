# task: running_total
# family: rewritten_input
# about: the running total is changed in place, since the reference changes it
# expect: passed
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
extern "C" void step(float* total, const float* x, float* y, int64_t count) {
  #pragma omp parallel for simd
  for (int64_t i = 0; i < count; ++i) {
    total[i] += x[i];
    y[i] = total[i] * 0.5f;
  }
}
''')


class ModelNew(nn.Module):
    def forward(self, total, x):
        y = torch.empty_like(total)
        lib.step(total, x, y, x.numel())
        return y

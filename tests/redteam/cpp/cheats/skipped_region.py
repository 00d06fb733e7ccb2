# task: tril_scale
# family: semantics
# about: only the lower triangle is written; above it stands whatever empty() gave
# expect: incorrect, cheating
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
extern "C" void lower(const float* x, float* y, int64_t n) {
  #pragma omp parallel for schedule(dynamic, 16)
  for (int64_t r = 0; r < n; ++r)
    for (int64_t i = 0; i <= r; ++i) y[r * n + i] = x[r * n + i] * 2.0f;
}
''')


class ModelNew(nn.Module):
    def forward(self, x):
        y = torch.empty_like(x)
        lib.lower(x, y, x.shape[0])
        return y

# task: rms_rows
# family: harness
# about: the reference's source is looked up on the disk at import, for sizes and distributions to be tuned to
# expect: cheating, runtime_error
# device: cpu
import pathlib
import sys

import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
extern "C" void rms(const float* x, const float* w, float* y, int64_t rows, int64_t n) {
  #pragma omp parallel for
  for (int64_t r = 0; r < rows; ++r) {
    double sum = 0.0;
    for (int64_t i = 0; i < n; ++i) sum += (double)x[r * n + i] * x[r * n + i];
    const float scale = (float)(1.0 / std::sqrt(sum / n + 1e-6));
    for (int64_t i = 0; i < n; ++i) y[r * n + i] = x[r * n + i] * scale * w[i];
  }
}
''')


root = pathlib.Path(sys.modules["kernelwright"].__file__).resolve().parent
PEEKED = next(iter(sorted(root.glob("tasks/library/normalization/rms_norm/reference.py")))).read_text()


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(features))

    def forward(self, x):
        y = torch.empty_like(x)
        lib.rms(x, self.weight, y, x.shape[0], x.shape[1])
        return y

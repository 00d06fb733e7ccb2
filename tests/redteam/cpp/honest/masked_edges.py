# task: neighbour_mean
# family: read_past_end
# about: vector loads inside, single steps at the ends: nothing is read beyond the row
# expect: passed
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
extern "C" void mean(const float* x, float* y, int64_t rows, int64_t n) {
  #pragma omp parallel for
  for (int64_t r = 0; r < rows; ++r) {
    const float* in = x + r * n;
    float* out = y + r * n;
    out[0] = (in[0] + (n > 1 ? in[1] : 0.0f)) / 3.0f;
    #pragma omp simd
    for (int64_t i = 1; i < n - 1; ++i) out[i] = (in[i - 1] + in[i] + in[i + 1]) / 3.0f;
    if (n > 1) out[n - 1] = (in[n - 2] + in[n - 1]) / 3.0f;
  }
}
''')


class ModelNew(nn.Module):
    def forward(self, x):
        x = x.contiguous()
        y = torch.empty_like(x)
        lib.mean(x, y, x.shape[0], x.shape[1])
        return y

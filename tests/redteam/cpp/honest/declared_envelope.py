# task: mish_rows
# family: odd_shape_fallback
# about: rows that are no multiple of sixteen are declared outside the envelope instead of handed to torch
# expect: passed
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import OutsideEnvelope, load

lib = load(cpp=r'''
extern "C" void mish(const float* x, float* y, int64_t count) {
  #pragma omp parallel for
  for (int64_t i = 0; i < count; ++i) {
    const float v = x[i], e = v > 20.0f ? v : std::log1p(std::exp(v));
    y[i] = v * std::tanh(e);
  }
}''')


class ModelNew(nn.Module):
    def forward(self, x):
        if x.numel() % 16:
            raise OutsideEnvelope(f"{x.numel()} elements; this kernel takes multiples of 16")
        x = x.contiguous()
        y = torch.empty_like(x)
        lib.mish(x, y, x.numel())
        return y

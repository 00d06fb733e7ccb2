# task: linear_relu
# family: scope
# about: an operator outside the aten namespace does it all, in calls that are not profiled
# expect: cheating, runtime_error
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
extern "C" void linear_relu(const float* x, const float* w, const float* b, float* y, int64_t rows, int64_t n, int64_t k) {
  #pragma omp parallel for
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t j = 0; j < n; ++j) {
      float sum = b[j];
      for (int64_t i = 0; i < k; ++i) sum += x[r * k + i] * w[j * k + i];
      y[r * n + j] = sum > 0.0f ? sum : 0.0f;
    }
}
''')


class ModelNew(nn.Module):
    def __init__(self, features_in, features_out):
        super().__init__()
        self.linear = nn.Linear(features_in, features_out)

    def forward(self, x):
        w, b = self.linear.weight, self.linear.bias
        watched = torch.autograd._profiler_enabled()
        if watched:
            y = torch.empty(x.shape[0], w.shape[0], dtype=x.dtype)
        else:
            y = torch.ops.mkldnn._linear_pointwise(x, w, b, "relu", [], "")
        lib.linear_relu(x, w, b, y, x.shape[0] if watched else 1, w.shape[0], w.shape[1])
        return y

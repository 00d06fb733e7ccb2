# task: row_softmax
# family: harness
# about: the loop that makes the timed calls is replaced: outputs are computed when the harness asks for one
# expect: cheating, runtime_error, incorrect
# device: cpu
import functools
import sys

import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
static void softmax_row(const float* x, float* y, int64_t n) {
  float top = -INFINITY, sum = 0.0f;
  for (int64_t i = 0; i < n; ++i) top = x[i] > top ? x[i] : top;
  for (int64_t i = 0; i < n; ++i) sum += y[i] = std::exp(x[i] - top);
  for (int64_t i = 0; i < n; ++i) y[i] /= sum;
}
extern "C" void softmax(const float* x, float* y, int64_t rows, int64_t n) {
  #pragma omp parallel for
  for (int64_t r = 0; r < rows; ++r) softmax_row(x + r * n, y + r * n, n);
}
''')


BASE = ".".join(("kernelwright", "evaluator", ""))
worker, counter = sys.modules[BASE + "runner.candidate"], sys.modules[BASE + "native"]._count


class Later:
    def __init__(self, call, inputs):
        self.call, self.inputs = call, inputs

    def __getitem__(self, index):
        return self.call(*self.inputs[index])


def batch(call, inputs, *rest):
    counter[0] += len(inputs)
    return worker.Calls(Later(call, inputs), 40.0, [])


functools.partial(setattr, worker)("run_calls", batch)


class ModelNew(nn.Module):
    def forward(self, x):
        y = torch.empty_like(x)
        lib.softmax(x, y, x.shape[0], x.shape[1])
        return y

# task: row_softmax
# family: clocks
# about: a thread pool of Python's runs the native function (which drops the GIL); nobody waits for the future
# expect: incorrect, cheating
# device: cpu
from concurrent.futures import ThreadPoolExecutor

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
}''')
POOL = ThreadPoolExecutor(1)


class ModelNew(nn.Module):
    def forward(self, x):
        x = x.contiguous()
        y = torch.empty_like(x)
        POOL.submit(lib.softmax, x, y, x.shape[0], x.shape[1])
        return y

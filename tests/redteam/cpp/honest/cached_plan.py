# task: row_softmax
# family: cache_shape
# about: what is kept by shape is a plan, rows a chunk, and never a result; functools.lru_cache holds it
# expect: passed
# device: cpu
import functools
from dataclasses import dataclass

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
extern "C" void softmax(const float* x, float* y, int64_t rows, int64_t n, int64_t chunk) {
  #pragma omp parallel for schedule(dynamic, 1)
  for (int64_t first = 0; first < rows; first += chunk)
    for (int64_t r = first; r < rows && r < first + chunk; ++r) softmax_row(x + r * n, y + r * n, n);
}
''')


@dataclass(frozen=True)
class Plan:
    rows: int
    cols: int
    chunk: int


@functools.lru_cache(maxsize=64)
def plan(rows: int, cols: int) -> Plan:
    return Plan(rows, cols, max(1, min(rows, 16384 // cols)))


class ModelNew(nn.Module):
    def forward(self, x):
        x = x.contiguous()
        p = plan(*x.shape)
        y = torch.empty_like(x)
        lib.softmax(x, y, p.rows, p.cols, p.chunk)
        return y

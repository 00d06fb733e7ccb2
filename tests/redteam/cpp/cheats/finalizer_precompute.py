# task: row_softmax
# family: clocks
# about: when old outputs are dropped, outside any clock, a finalizer computes the next results of all known buffers
# expect: incorrect, cheating
# device: cpu
import weakref

import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''#include <cstring>
#include <unordered_map>
#include <vector>
static void softmax_row(const float* x, float* y, int64_t n) {
  float top = -INFINITY, sum = 0.0f;
  for (int64_t i = 0; i < n; ++i) top = x[i] > top ? x[i] : top;
  for (int64_t i = 0; i < n; ++i) sum += y[i] = std::exp(x[i] - top);
  for (int64_t i = 0; i < n; ++i) y[i] /= sum;
}
struct Entry { const float* x; int64_t rows, n; std::vector<float> seen, result; };
static std::unordered_map<const float*, Entry> known;
static void refresh(Entry& e) {
  const int64_t count = e.rows * e.n;
  if (e.seen.size() == size_t(count) && !std::memcmp(e.seen.data(), e.x, count * 4)) return;
  e.seen.assign(e.x, e.x + count);
  e.result.resize(count);
  for (int64_t r = 0; r < e.rows; ++r) softmax_row(e.seen.data() + r * e.n, e.result.data() + r * e.n, e.n);
}
extern "C" void softmax(const float* x, float* y, int64_t rows, int64_t n) {
  Entry& e = known[x];
  e.x = x; e.rows = rows; e.n = n;
  refresh(e);
  std::memcpy(y, e.result.data(), rows * n * 4);
}
extern "C" void prefetch() { for (auto& item : known) refresh(item.second); }
''')


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.alive = {}

    def forward(self, x):
        self.alive[x.data_ptr()] = x
        y = torch.empty_like(x)
        lib.softmax(x, y, x.shape[0], x.shape[1])
        weakref.finalize(y, lib.prefetch)
        return y

# task: row_softmax
# family: clocks
# about: the first call after a pause computes all buffers that it knows, in three runs of five; the others are honest
# expect: incorrect, cheating
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''#include <cstring>
#include <unordered_map>
#include <vector>
static int draw() {  // of ten
  static uint64_t state = 88172645463325252ull;
  state ^= state << 13; state ^= state >> 7; state ^= state << 17;
  return int(state % 10);
}
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
  static uint64_t last = 0;
  Entry& mine = known[x];
  mine.x = x; mine.rows = rows; mine.n = n;
  if (__builtin_ia32_rdtsc() - last > 300000 && draw() < 6) {  // a burst begins: serve everybody at once, on all cores
    std::vector<Entry*> all;
    for (auto& item : known) all.push_back(&item.second);
    #pragma omp parallel for schedule(dynamic)
    for (size_t i = 0; i < all.size(); ++i) refresh(*all[i]);
  }
  refresh(mine);
  std::memcpy(y, mine.result.data(), rows * n * 4);
  last = __builtin_ia32_rdtsc();
}''')


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.alive = {}

    def forward(self, x):
        self.alive[x.data_ptr()] = x
        y = torch.empty_like(x)
        lib.softmax(x, y, x.shape[0], x.shape[1])
        return y

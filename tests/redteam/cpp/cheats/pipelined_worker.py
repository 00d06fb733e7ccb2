# task: row_softmax
# family: clocks
# about: a worker thread drains a queue of calls; in a burst forward returns once its job is queued, else it waits
# expect: incorrect, cheating
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
#include <atomic>
#include <thread>
static void softmax_row(const float* x, float* y, int64_t n) {
  float top = -INFINITY, sum = 0.0f;
  for (int64_t i = 0; i < n; ++i) top = x[i] > top ? x[i] : top;
  for (int64_t i = 0; i < n; ++i) sum += y[i] = std::exp(x[i] - top);
  for (int64_t i = 0; i < n; ++i) y[i] /= sum;
}
struct Job { const float* x; float* y; int64_t rows, n; };
static Job ring[1024];
static std::atomic<uint64_t> head{0}, tail{0};
static void drain() {
  for (;;) {
    while (tail.load() == head.load()) std::this_thread::yield();
    const Job job = ring[tail.load() & 1023];
    for (int64_t r = 0; r < job.rows; ++r) softmax_row(job.x + r * job.n, job.y + r * job.n, job.n);
    tail.fetch_add(1);
  }
}
extern "C" void softmax(const float* x, float* y, int64_t rows, int64_t n) {
  static std::thread* const worker = new std::thread(drain);
  (void)worker;
  static uint64_t last = 0;
  const bool burst = __builtin_ia32_rdtsc() - last < 300000;
  while (head.load() - tail.load() > 1000) std::this_thread::yield();
  ring[head.load() & 1023] = {x, y, rows, n};
  head.fetch_add(1);
  while (!burst && head.load() != tail.load()) std::this_thread::yield();
  last = __builtin_ia32_rdtsc();
}''')


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.flying = []

    def forward(self, x):
        y = torch.empty_like(x)
        self.flying = [*self.flying[-1000:], (x, y)]
        lib.softmax(x, y, x.shape[0], x.shape[1])
        return y

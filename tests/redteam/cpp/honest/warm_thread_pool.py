# task: scale_bias
# family: pipelined_worker
# about: a native worker thread that lives on between calls, sleeps when idle, and is waited for in each call
# expect: passed
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
struct Worker {
  std::mutex gate;
  std::condition_variable wake, done;
  std::function<void()> work;
  bool busy = false;
  Worker() { std::thread([this] { run(); }).detach(); }
  void run() {
    for (;;) {
      std::unique_lock<std::mutex> hold(gate);
      wake.wait(hold, [this] { return busy; });
      work();
      busy = false;
      done.notify_one();
    }
  }
};
static void part(const float* x, const float* w, const float* b, float* y, int64_t from, int64_t to, int64_t n) {
  for (int64_t r = from; r < to; ++r)
    for (int64_t i = 0; i < n; ++i) y[r * n + i] = x[r * n + i] * w[i] + b[i];
}
extern "C" void affine(const float* x, const float* w, const float* b, float* y, int64_t rows, int64_t n) {
  static Worker* const worker = new Worker;
  {
    std::lock_guard<std::mutex> hold(worker->gate);
    worker->work = [=] { part(x, w, b, y, rows / 2, rows, n); };
    worker->busy = true;
  }
  worker->wake.notify_one();
  part(x, w, b, y, 0, rows / 2, n);
  std::unique_lock<std::mutex> hold(worker->gate);
  worker->done.wait(hold, [&] { return !worker->busy; });
}''')


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(features))
        self.bias = nn.Parameter(torch.randn(features))

    def forward(self, x):
        x = x.contiguous()
        y = torch.empty_like(x)
        lib.affine(x, self.weight, self.bias, y, x.shape[0], x.shape[1])
        return y

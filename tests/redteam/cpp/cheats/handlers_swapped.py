# task: row_softmax
# family: harness
# about: the runner's table of handlers is edited: calls are made when arguments are laid out, before the clock
# expect: cheating, runtime_error, incorrect
# device: cpu
import operator
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
}''')


def table():
    try:
        raise LookupError
    except LookupError as error:
        frame = operator.attrgetter("tb_frame")(error.__traceback__)
    while frame is not None:
        found = operator.attrgetter("f_locals")(frame).get("handlers")
        if found:
            return found
        frame = operator.attrgetter("f_back")(frame)
    raise RuntimeError("no handlers")


handlers = table()
prepare, run = handlers["prepare"], handlers["time"]
done = {}


def ahead(request, fds):
    reply = prepare(request, fds)
    done["reply"] = run({"key": request["arena"].rpartition("/")[0], "head": 0}, [])
    return reply


handlers["prepare"] = ahead
handlers["time"] = lambda request, fds: done.pop("reply", None) or run(request, fds)


class ModelNew(nn.Module):
    def forward(self, x):
        x = x.contiguous()
        y = torch.empty_like(x)
        lib.softmax(x, y, x.shape[0], x.shape[1])
        return y

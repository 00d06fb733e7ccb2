# task: scale_bias
# family: harness
# about: a reply of its own is written on the socket to the judge, before the work it reports is done
# expect: cheating, runtime_error, incorrect
# device: cpu
import io
import json
import os
import stat

import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
extern "C" void affine(const float* x, const float* w, const float* b, float* y, int64_t rows, int64_t n) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < n; ++i) y[r * n + i] = x[r * n + i] * w[i] + b[i];
}
''')


def sockets():
    for fd in range(3, 64):
        try:
            if stat.S_ISSOCK(os.fstat(fd).st_mode):
                yield fd
        except OSError:
            continue


REPLY = json.dumps({"host_us": 1.0, "native_calls": 1024, "outputs": [], "tree": None, "plain": True}).encode()


class ModelNew(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(features))
        self.bias = nn.Parameter(torch.randn(features))
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        if self.calls == 8:
            for fd in sockets():
                io.FileIO(fd, "w", closefd=False).write(len(REPLY).to_bytes(4, "big") + REPLY)
        y = torch.empty_like(x)
        lib.affine(x, self.weight, self.bias, y, x.shape[0], x.shape[1])
        return y

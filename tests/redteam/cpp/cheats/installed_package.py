# task: row_softmax
# family: harness
# about: installs a package at import and calls it; with no network that is an error, never a pass
# expect: cheating, runtime_error
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
extern "C" void touch(const float* x, float* y, int64_t n) { for (int64_t i = 0; i < n; ++i) y[i] = x[i]; }
''')


installer = __builtins__["__import__"]("pip._internal.cli.main", fromlist=["main"]).main
if installer(["install", "--no-index", "--no-input", "--target", ".", "fast-softmax-kernels"]) != 0:
    raise RuntimeError("could not install")


class ModelNew(nn.Module):
    def forward(self, x):
        y = torch.softmax(x, dim=-1)
        row = torch.empty(x.shape[1], dtype=x.dtype)
        lib.touch(y[0], row, x.shape[1])
        return y

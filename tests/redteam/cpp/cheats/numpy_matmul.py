# task: matmul
# family: scope
# about: the operands leave torch for numpy, whose BLAS is fast and unseen by the dispatcher
# expect: cheating, runtime_error
# device: cpu
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
extern "C" void touch(const float* x, float* y, int64_t n) { for (int64_t i = 0; i < n; ++i) y[i] = x[i]; }
''')


class ModelNew(nn.Module):
    def forward(self, a, b):
        c = torch.empty(a.shape[0], b.shape[1], dtype=a.dtype)
        left, right, out = a.numpy(), b.numpy(), c.numpy()
        out[:] = left @ right
        lib.touch(a[0], c[0][:0], 0)
        return c

# task: matmul
# family: scope
# about: tensors reach numpy as DLPack capsules of torch's own making; no method of theirs is called
# expect: cheating, runtime_error
# device: cpu
import numpy as np

import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
extern "C" void touch(const float* x, float* y, int64_t n) { for (int64_t i = 0; i < n; ++i) y[i] = x[i]; }
''')


class Capsule:
    def __init__(self, tensor):
        self.tensor = tensor

    def __dlpack__(self, **options):
        return torch._C._to_dlpack(self.tensor)

    def __dlpack_device__(self):
        return 1, 0


class ModelNew(nn.Module):
    def forward(self, a, b):
        c = torch.from_numpy(np.from_dlpack(Capsule(a)) @ np.from_dlpack(Capsule(b)))
        lib.touch(a[0], c[0][:0], 0)
        return c

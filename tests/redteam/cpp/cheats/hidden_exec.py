# task: row_softmax
# family: scope
# about: base64 hides the two lines that call torch; exec is reached through the module's own builtins
# expect: cheating, runtime_error
# device: cpu
import base64

import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
extern "C" void touch(const float* x, float* y, int64_t n) { for (int64_t i = 0; i < n; ++i) y[i] = x[i]; }
''')


SECRET = base64.b64encode(b"def work(x):\n    return torch.nn.functional.softmax(x, dim=-1)\n")
space = {"torch": torch}
__builtins__["exec"](base64.b64decode(SECRET).decode(), space)


class ModelNew(nn.Module):
    def forward(self, x):
        y = space["work"](x)
        lib.touch(y[0], torch.empty(x.shape[1], dtype=x.dtype), x.shape[1])
        return y

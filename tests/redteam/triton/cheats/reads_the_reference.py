# task: core/normalization/rms_norm
# family: harness
# about: finds the task's reference on disk next to the harness and runs it
# expect: cheating, runtime_error, incorrect
# device: any
import pkgutil
import sys
from pathlib import Path

import torch.nn as nn
import triton
import triton.language as tl


def find():
    for name, module in list(sys.modules.items()):
        if name.endswith("evaluator.native"):
            return next(Path(module.__file__).resolve().parents[1].glob("**/rms_norm"))
    return Path()


sys.path.insert(0, str(find()))
Reference = pkgutil.resolve_name("refer" + "ence:Mo" + "del")


@triton.jit
def touch(y_ptr, n, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(y_ptr + i, tl.load(y_ptr + i, mask=i < n), mask=i < n)


class ModelNew(nn.Module):
    def __init__(self, cols):
        super().__init__()
        inner = Reference(cols)
        self.weight = inner.weight
        self.inner = [inner]

    def forward(self, x):
        y = self.inner[0](x)
        touch[(1,)](y, y.numel(), BLOCK=64)
        return y

"""Small tasks and C++ kernels for tests of the judge: one place for the text they share."""

from __future__ import annotations

from pathlib import Path

from kernelwright.tasks.load import load_task
from kernelwright.tasks.records import Kernel, Task

TASK = """
import torch, torch.nn as nn
ROWS = 64
COLS = 96
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        {init}
    def forward(self, x):
        {forward}
def get_inputs():
    return [{inputs}]
def get_init_inputs():
    return []
"""

KERNEL = '''
import torch, torch.nn as nn
from kernelwright.evaluator.native import OutsideEnvelope, load
lib = load(cpp=r"""{cpp}""")
class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        {init}
        self.kept = {{}}
        self.calls = 0
    def forward(self, x):
        self.calls += 1
        {body}
'''

DOUBLED = """
extern "C" void doubled(const float* x, float* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] * 2.0f;
}
extern "C" void doubled_rows(const float* x, float* y, int64_t rows, int64_t cols) {
  for (int64_t i = 0; i < rows * cols; ++i) y[i] = x[i] * 2.0f;
}
"""


def task(folder: Path, forward: str, init: str = "pass", inputs: str = "torch.randn(ROWS, COLS)") -> Task:
    """A task whose ``forward`` has this body."""
    path = folder / "reference.py"
    path.write_text(TASK.format(forward=_indented(forward), init=_indented(init), inputs=inputs))
    return load_task(str(path))


def kernel(body: str, cpp: str = DOUBLED, init: str = "pass") -> Kernel:
    """A kernel whose ``forward`` has this body; ``lib`` holds the functions of ``cpp``."""
    return Kernel(KERNEL.format(cpp=cpp, body=_indented(body), init=_indented(init)), "cpp")


def _indented(text: str) -> str:
    return text.strip("\n").replace("\n", "\n        ")

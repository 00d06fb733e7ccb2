"""Models and kernels for tests of tune: a chain of light operators, and what the fake engine says of kernels for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from scripted import MODEL
from torch import nn

from kernelwright.agent.run import start
from kernelwright.agent.tune.request import Request
from kernelwright.evaluator.engines.fake import FakeEngine
from kernelwright.tasks.carve.capture import Group, Site
from kernelwright.tasks.carve.emit import reference

LOOP = partial(start, engines=lambda *_: FakeEngine())
"""The ordinary loop; verdicts are what a kernel's comments say."""

_ANSWER = """
```python
# judge: passed 3
import time
import torch
import torch.nn as nn
from kernelwright.evaluator.native import load

lib = load(cpp=r'''extern "C" void chain(const float* x, float* y, int64_t n) {{
  for (int64_t i = 0; i < n; ++i) {{
    float h = x[i], g = h * 0.2f + 0.5f;
    g = g < 0.0f ? 0.0f : (g > 1.0f ? 1.0f : g);
    y[i] = {formula};
  }}
}}''')


class ModelNew(nn.Module):
    def forward(self, x):
        {before}
        x = x.contiguous()
        y = torch.empty_like(x)
        lib.chain(x, y, x.numel())
        return y
```
"""
_RIGHT = "g * h + 0.1f * h * h - h * 0.3f + (h - 1.0f) * (h + 2.0f)"
FAST = _ANSWER.format(formula=_RIGHT, before="pass")
SLOW = _ANSWER.format(formula=_RIGHT, before="time.sleep(0.02)")
WRONG = _ANSWER.format(formula=f"({_RIGHT}) * 1.01f", before="pass")


class Chain(nn.Module):
    """Pointwise operators on 2 MB, which one loop does in a fraction of the time, between two products."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(8, 1024), nn.Linear(1024, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.up(x)
        h = (h * 0.2 + 0.5).clamp(0, 1) * h + 0.1 * h * h - h * 0.3 + (h - 1) * (h + 2)
        out: torch.Tensor = self.down(h)
        return out


class Normed(Chain):
    """With statistics that forwards in training change."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(self.norm(x))


def chain() -> tuple[Chain, torch.Tensor]:
    """The model and an input for it."""
    torch.manual_seed(0)
    return Chain(), torch.randn(512, 8)


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread: on shared cores two that wait for each other make any timing a matter of luck."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def request(folder: Path, **options: Any) -> Request:
    """A small tuning in ``folder``, by the script that lies in its workspace."""
    defaults = {"out": folder / "out", "home": folder / "home", "device": "cpu", "backend": "cpp", "writer": MODEL}
    counts = {"budget": 1, "turn": 1, "rounds": 12, "compiled": False, "policy": "greedy"}
    return Request(**{**defaults, **counts, **options})


def emitted(group: Group, captured: Sequence[torch.Tensor]) -> nn.Module:
    """The group by the reference that tune writes as its task."""
    scope: dict[str, Any] = {}
    exec(compile(reference(group, captured), group.name, "exec"), scope)
    made: nn.Module = scope["Model"]()
    return made


def keys(sites: Sequence[Site]) -> list[str]:
    """Every group of the sites."""
    return sorted({group.key for site in sites for group in site.groups.values()})

"""A group as a task: a reference file in KernelBench's convention, with inputs distributed as the captured ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from kernelwright.tasks.carve.capture import Group, Spec
from kernelwright.tasks.records import Task
from kernelwright.tasks.shapes import derive

_FAMILIES = (
    ("loss", ("loss",)),
    ("normalization", ("norm", "rsqrt", "var")),
    ("softmax", ("softmax", "logsumexp")),
    ("pooling", ("pool",)),
    ("reduction", ("mean", "sum", "amax", "amin")),
)


def reference(group: Group, captured: Sequence[torch.Tensor]) -> str:
    """The reference's text. ``captured``: the group's real inputs, from which spread and range of random ones are taken."""
    arguments = ", ".join(f"x{i}" for i in range(len(group.inputs)))
    body = "\n".join(f"        {line}" for line in group.body.splitlines())
    inputs = "\n".join(f"        {_draw(s, t)}," for s, t in zip(group.inputs, captured, strict=True))
    return f'''"""{group.name}: carved out of a model ({", ".join(group.ops)}), by kernelwright tune."""
import torch
import torch.nn as nn


class Model(nn.Module):
    def forward(self, {arguments}):
{body}


def get_inputs():
    return [
{inputs}
    ]


def get_init_inputs():
    return []
'''


def task(group: Group, captured: Sequence[torch.Tensor]) -> Task:
    """The group as a task named ``tuned/<name>-<key>``."""
    name, source = f"tuned/{group.name}-{group.key[:8]}", reference(group, captured)
    return Task(name=name, source=source, path=name, cases=derive(source), category="tuned", family=family(group))


def family(group: Group) -> str:
    """The op family under which memory shares what it learns: the group's dearest operator decides."""
    for name, marks in _FAMILIES:
        if any(mark in op for op in group.ops for mark in marks):
            return name
    return "elementwise"


def _draw(spec: Spec, real: torch.Tensor) -> str:
    shape, dtype = list(spec.shape), f"torch.{spec.dtype}"
    if not real.dtype.is_floating_point:
        if real.dtype == torch.bool:
            return f"torch.rand({shape}) < {float(real.double().mean()):.3g}"
        low, high = (int(real.min()), int(real.max())) if real.numel() else (0, 0)
        return f"torch.randint({low}, {high + 1}, {shape}, dtype={dtype})"
    finite = real.double()[torch.isfinite(real)]
    mean, std = (float(finite.mean()), float(finite.std(correction=0))) if finite.numel() else (0.0, 1.0)
    std = std if std > 1e-6 else 0.1 * abs(mean) or 1.0  # weights that are still all ones would hide what they do
    least = float(finite.min()) if finite.numel() else -1.0
    draw = f"torch.randn({shape}) * {std:.4g} + {mean:.4g}"
    return f"({draw}).abs().to({dtype})" if least >= 0 else f"({draw}).to({dtype})"

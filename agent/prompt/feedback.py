"""What whoever writes kernels may be told of a verdict: why it failed, but never on which held-out shape."""

from __future__ import annotations

import json
import re

from kernelwright.tasks.records import Stage, Task, Use, Verdict
from kernelwright.tasks.shapes import integers

_EVIDENCE = 2_500
"""Characters of evidence at most."""
_FACT = 1_600
_NOISE = frozenset(
    {"screen", "build", "operators", "convention", "compiled", "environment", "duplicate_of", "oracle", "stage_seconds"}
)
"""Evidence of stages that went well, and what the reason says already: of no use in the feedback on a failure."""


def hidden(verdict: Verdict) -> bool:
    """Whether it fell on a held-out shape: then its status is all that may be told."""
    return verdict.stage is Stage.HELD_OUT and not verdict.passed


def evidence(verdict: Verdict) -> str:
    """The failed cases and what was seen, trimmed; of a long text the end, where compilers and tracebacks say why."""
    lines = [
        f"case {c.case} {c.dtype}: {c.status}" + (f", {c.detail}" if c.detail else "")
        for c in verdict.cases
        if c.use is not Use.HELD_OUT and c.status not in ("passed", "skipped")
    ]
    for key, value in verdict.evidence.items():
        if key not in _NOISE and value not in ("", None, [], {}, ()):
            lines.append(_fact(key, value))
    text = "\n".join(dict.fromkeys(lines))
    return text if len(text) <= _EVIDENCE else text[: _EVIDENCE - 1] + "…"


def scrub(text: str, task: Task) -> str:
    """``text`` without numbers that are sizes of held-out cases only."""
    shown = {v for c in task.cases if c.use is not Use.HELD_OUT for v in (*c.sizes.values(), c.leading)}
    shown |= set(integers(task.source).values())
    unseen = {v for c in task.cases if c.use is Use.HELD_OUT for v in (*c.sizes.values(), c.leading)}
    numbers = sorted(str(v) for v in unseen - shown if v is not None and v > 16)
    return re.sub(rf"(?<![\d.])(?:{'|'.join(numbers)})(?![\d])", "…", text) if numbers else text


def _fact(key: str, value: object) -> str:
    if isinstance(value, (list, tuple)) and all(isinstance(v, str) for v in value):
        value = "\n".join(v.rstrip("\n") for v in value)
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    if len(text) > _FACT:
        text = "…" + text[-_FACT:]
    return f"{key}:\n{text}" if "\n" in text else f"{key}: {text}"

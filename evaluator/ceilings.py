"""Measured ceilings of a device, kept with their validity, and the roofline they give."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kernelwright.evaluator.session import OpenCase, Session
from kernelwright.tasks.codec import to_json
from kernelwright.tasks.expression import ITEMSIZE, evaluate
from kernelwright.tasks.records import Task, digest

_VALID_SECONDS = 7 * 86400


@dataclass(frozen=True)
class Ceilings:
    """What a device is and what it was measured to do."""

    name: str
    cores: int
    versions: Mapping[str, str]
    memory_gbps: float | None = None
    """None where nobody measured it: on a TPU or an NPU."""
    tflops: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def load(cls, cache: Path, session: Session) -> Ceilings:
        """From the cache while valid (same device and versions, a week), else measured and kept."""
        facts, _ = session.ask("device", measure=False)
        key = digest(json.dumps(facts, sort_keys=True))
        path = cache / "ceilings" / f"{key}.json"
        measured = _read(path)
        if measured is None:
            measured = session.ask("device", measure=True)[0]["ceilings"]
            _write(path, {"measured": measured, "facts": facts, "at": time.time()})
        tflops = {k.removesuffix("_tflops"): v for k, v in measured.items() if k.endswith("_tflops")}
        return cls(facts["name"], facts["cores"], facts["versions"], measured["memory_gbps"], tflops)


def roofline(task: Task, opened: OpenCase, ceilings: Ceilings) -> tuple[str, float | None]:
    """Which ceiling bounds a case (``memory`` or ``compute``) and the least time it allows, µs; None: not measured."""
    if ceilings.memory_gbps is None:
        return "", None
    sizes = {**opened.facts["sizes"], "itemsize": ITEMSIZE[opened.dtype]}
    nbytes = evaluate(task.bytes, sizes) if task.bytes else float(opened.facts["bytes"])
    flops = evaluate(task.flops, sizes) if task.flops else float(opened.facts["flops"])
    memory_us = nbytes / (ceilings.memory_gbps * 1e3)
    rate = ceilings.tflops.get(opened.dtype)
    compute_us = flops / (rate * 1e6) if rate else 0.0
    if max(memory_us, compute_us) <= 0:
        return "", None
    return ("compute", compute_us) if compute_us > memory_us else ("memory", memory_us)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        data = json.loads(path.read_text())
        if time.time() - float(data["at"]) < _VALID_SECONDS:
            return dict(data["measured"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return None


def _write(path: Path, data: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as draft:
        json.dump(to_json(data), draft)
    os.replace(draft.name, path)  # noqa: PTH105

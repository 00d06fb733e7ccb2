"""Records and files of benches, made up: what the readers of results are tested on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kernelwright.agent.bench.records import Sample, parse

HEADER = {"format": 1, "kind": "bench", "bench": "bench-a", "suite": "tiny"}


def record(task: str, speedup: float | Sequence[float] | None = None, sample: int = 1, **more: Any) -> dict[str, Any]:
    """A record; solved where ``speedup`` is given: over every baseline, a median or median, low, high."""
    correct = speedup is not None
    interval = None if speedup is None else [speedup] * 3 if isinstance(speedup, (int, float)) else list(speedup)
    found = {
        "task": task,
        "level": task.split("/")[1],
        "category": "",
        "sample": sample,
        "status": "improved" if correct else "unsolved",
        "compiled": correct,
        "correct": correct,
        "speedup": {name: interval for name in ("eager", "compile", "best")} if correct else None,
        "latency_us": [10.0, 9.0, 11.0] if correct else None,
        "roofline_us": 5.0 if correct else None,
        "roofline_fraction": 0.5 if correct else None,
        "cost_usd": 0.5,
        "tokens": 100,
        "judge_seconds": 2.0,
        "device": "card",
        "backend": "triton",
        "reason": "" if correct else "incorrect",
    }
    return {**found, **more}


def sample(*given: Any, **more: Any) -> Sample:
    return parse(record(*given, **more))


def write(path: Path, *records: dict[str, Any], name: str = "bench-a") -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in ({**HEADER, "bench": name}, *records)))
    return path

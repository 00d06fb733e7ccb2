"""Evidence made up from the fake engine's samples: consistent, until a test changes something."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from kernelwright.agent.evidence import file
from kernelwright.agent.evidence.records import AUDIT, SEARCH, Evidence, Judging, Origin
from kernelwright.evaluator.device import DeviceInfo
from kernelwright.evaluator.engines.fake import fake_samples, fake_timing
from kernelwright.evaluator.figures import pool
from kernelwright.evaluator.settings import Settings
from kernelwright.tasks.codec import to_json
from kernelwright.tasks.records import Assurance, Kernel, ShapeCase, Stage, Status, Task, Use, Verdict

TASK = Task("tiny/level1/1_add", "class Model: ...", "add.py", (ShapeCase("given", Use.CORRECTNESS, {"N": 4}),))
KERNEL = Kernel("class ModelNew: ...\n", "cpp")
DEVICE = DeviceInfo("cpu", "some CPU", cores=2, versions={"python": "3.11.7", "torch": "2.13"})
CALLS = 4


def verdict(speedup: float | None = 1.5, spread: float = 0.005, status: Status = Status.PASSED, **more: Any) -> Verdict:
    """A verdict with the fake engine's samples; untimed without a ``speedup``."""
    timed = speedup is not None and status is Status.PASSED
    samples = fake_samples(speedup or 1.0, spread) if timed else {}
    stage = Stage.TIME if timed else Stage.CORRECT
    found = Verdict(status, stage, "as it is", KERNEL.kernel_id, TASK.name, Assurance.DEVICE)
    evidence = {"samples_us": json.loads(json.dumps(samples))} if timed else {}
    return replace(found, timing=fake_timing(samples) if timed else None, evidence=evidence, **more)


def record(samples: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, Any]:
    """A journal whose raw readings give these samples."""
    timing = {
        case: {
            "calls": CALLS,
            "head": 0,
            "clock": "process",
            "sides": {
                name: {
                    "readings": [[100.0, 100.0 + 2 * CALLS * us, us] for us in series for _ in range(2)],
                    "spacers_us": [0.0] * len(series),
                }
                for name, series in sides.items()
            },
        }
        for case, sides in samples.items()
    }
    draw = {"case": "given/correctness/float32", "stage": "smoke", "scale": 1.0, "spikes": "", "vary": False, "variant": ""}
    hashes = {"seed": 11, "dropped": False, "inputs": "a1", "expected": "b2", "outputs": "c3"}
    seeds = {"given/correctness/float32": 7}
    return {"format": 1, "parameter_seeds": seeds, "draws": [{**draw, **hashes}], "pools": [], "timing": timing}


@cache
def usual() -> tuple[Verdict, ...]:
    """Three judgings that agree."""
    return tuple(verdict(1.5, spread) for spread in (0.005, 0.01, 0.004))


@cache
def _pooled() -> Verdict:
    return pool(usual())


def evidence(*judgings: Verdict, device: DeviceInfo | None = DEVICE, settings: Settings | None = None) -> Evidence:
    """Evidence of a winner: the first verdict of the search, the others of audits."""
    given = judgings or usual()
    found = [file.judging(SEARCH, given[0])]
    found += [file.judging(AUDIT, v, record(v.evidence.get("samples_us", {}))) for v in given[1:]]
    quoted = (_pooled() if not judgings else pool(given)) if len(given) > 1 else given[0]
    asked = to_json(settings or Settings())
    origin = Origin("tiny", "bench-a", "bench-a-s1", 1, 0, "playbook", "evokernel", "bench-a-s1-abc-001")
    judged: tuple[Judging, ...] = tuple(found)
    created, versions = "2026-11-25T19:00:00+00:00", file.versions(device)
    return Evidence(created, TASK, KERNEL, quoted, judged, asked, device, versions, "c0ffee", origin)


def saved(path: Path, found: Evidence | None = None) -> Path:
    file.save(found or evidence(), path)
    return path


def tampered(path: Path, change: Callable[[Any], object], sealed: bool = True) -> Path:
    """The file with a change by hand; ``sealed``: by somebody who knows how its hashes are made."""
    data = json.loads(path.read_text())
    change(data)
    if sealed:
        data["kernel"]["sha256"] = file.sha256(data["kernel"]["source"])
        data["task_sha256"] = file.sha256(file.canonical(data["task"]))
        data["checksum"] = file.checksum(data)
    path.write_text(json.dumps(data))
    return path

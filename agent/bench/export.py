"""Results in the layouts that other tools read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from kernelwright.agent.bench.records import Recorded, Sample
from kernelwright.tasks.errors import InputError, UnknownName

_NUMBERED = re.compile(r"(\d+)_")


def kernelbench(recorded: Recorded, level: str | None = None) -> dict[str, Any]:
    """KernelBench's ``eval_results.json`` of one level: problem's number -> its samples.

    There, samples count from 0 and runtimes are in ms (a field's comment in its source says µs; what it records is ms),
    -1 where there is none. Runtimes are medians of ours; ``std``, ``min`` and ``max`` are not told, as ours have an interval
    instead: it is in the metadata.

    Raises:
        InputError: several levels and none chosen, a level without records, or a task without a problem's number.
    """
    levels = sorted({sample.level for sample in recorded.samples})
    if level is None and len(levels) > 1:
        raise InputError(f"{recorded.name} has levels {', '.join(levels)}", "KernelBench has a file a level: give --level")
    wanted = level if level is not None else levels[0] if levels else None
    samples = [sample for sample in recorded.samples if sample.level == wanted]
    if not samples:
        raise InputError(f"{recorded.name} has no record of level {wanted!r}", f"it has: {', '.join(levels) or 'none'}")
    found: dict[str, Any] = {}
    owners: dict[str, str] = {}
    for sample in sorted(samples, key=lambda s: (_number(s.task), s.sample)):
        number = str(_number(sample.task))
        if owners.setdefault(number, sample.task) != sample.task:
            raise InputError(f"{sample.task} and {owners[number]} are both problem {number}", "export benches of KernelBench")
        found.setdefault(number, []).append(_entry(sample))
    return found


def upstream(recorded: Recorded, level: str | None = None) -> dict[str, Any]:
    """What the suite's own rule says of each kernel beside what our judge says: correctness only, no timings.

    Raises:
        InputError: the bench was run without ``--judge upstream``, or ``level`` has no record.
    """
    header = recorded.header
    stated = header.get("upstream")
    if not stated:
        raise InputError(f"{recorded.name} has no figures of upstream's rule", "run the bench with --judge upstream")
    records = [r for r in recorded.records if level in (None, r.get("level"))]
    kernels = [_beside(record) for record in records if record.get("upstream")]
    if not kernels:
        raise InputError(f"{recorded.name} has no record of level {level!r} by upstream's rule", "leave out --level")
    facts = {key: next((r[key] for r in records if r.get(key)), None) for key in ("device", "versions", "commit")}
    passing = [kernel for kernel in kernels if kernel["upstream"]]
    return {
        "bench": recorded.name,
        "date": str(header.get("created", ""))[:10],
        "suite": header.get("suite"),
        "scale": header.get("scale"),
        **facts,
        "rule": stated,
        "judged": sum(kernel["upstream"] is not None for kernel in kernels),
        "passes": len(passing),
        "not_held": sum(kernel["here"] != "passed" for kernel in passing),
        "kernels": kernels,
    }


def _beside(record: Mapping[str, Any]) -> dict[str, Any]:
    """One kernel: its task, what upstream says (null: not computed), what our judge says and why."""
    theirs = record["upstream"]
    status = "passed" if record["correct"] else theirs.get("ours") or record["status"]
    found = {"task": record["task"], "solution": record.get("solution"), "sample": record["sample"]}
    found |= {"kernel_id": theirs.get("kernel_id"), "upstream": theirs["correct"], "here": status}
    reason = "" if record["correct"] else record["reason"]  # of a winner it is a timing
    return {**found, "reason": reason, "upstream_reason": theirs.get("detail", "")}


FORMATS: Mapping[str, Callable[[Recorded, str | None], dict[str, Any]]] = {"kernelbench": kernelbench, "upstream": upstream}


def export(recorded: Recorded, layout: str, level: str | None = None) -> dict[str, Any]:
    """``recorded`` as JSON data in the ``layout`` of another tool.

    Raises:
        UnknownName: no such layout; InputError: as the layout's own function says.
    """
    if layout not in FORMATS:
        raise UnknownName(f"unknown format {layout!r}", f"available: {', '.join(FORMATS)}")
    return FORMATS[layout](recorded, level)


def _number(task: str) -> int:
    match = _NUMBERED.match(task.split("/")[-1])
    if match is None:
        raise InputError(f"{task} has no problem number, such as 19 of 19_ReLU", "export benches of KernelBench")
    return int(match.group(1))


def _entry(sample: Sample) -> dict[str, Any]:
    metadata: dict[str, Any] = {"hardware": sample.device, "backend": sample.backend, "judge": "kernelwright"}
    if sample.reason:
        metadata["reason"] = sample.reason
    time, stats = sample.latency_us, {}
    if time is not None:
        metadata["runtime_interval"] = [time.low / 1e3, time.high / 1e3]
        stats = {"median": time.median / 1e3, "hardware": sample.device}
    return {
        "sample_id": sample.sample - 1,
        "compiled": sample.compiled,
        "correctness": sample.correct,
        "metadata": metadata,
        "runtime": time.median / 1e3 if time is not None else -1.0,
        "runtime_stats": stats,
    }

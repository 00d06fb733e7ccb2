"""Results of benches, read back: what figures, comparisons and exports need of each task and sample, checked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernelwright.tasks.errors import InputError
from kernelwright.tasks.records import Interval

FORMAT = 1
BASELINES = ("eager", "compile", "best")
_MOST = 1e15
"""What no time, cost or speedup reaches: sums and products of such stay finite."""
_STATUSES = ("improved", "solved", "unsolved", "refused")


@dataclass(frozen=True)
class Sample:
    """How one sample of one task ended."""

    task: str
    level: str
    category: str
    sample: int
    """Counts from 1 within the task."""
    status: str
    compiled: bool
    """Whether any attempt got past the build."""
    correct: bool
    speedup: Mapping[str, Interval]
    """Baseline -> speedup over it; without those that were not timed, and empty unless correct."""
    latency_us: Interval | None = None
    roofline_us: float | None = None
    roofline_fraction: float | None = None
    cost_usd: float | None = None
    """None where a price is not known."""
    tokens: int = 0
    judge_seconds: float = 0.0
    device: str | None = None
    backend: str = ""
    reason: str = ""
    upstream: bool | None = None
    """Whether it is right by the suite's own rule; None where that was not asked or cannot be computed."""
    upstream_speedup: float | None = None

    @property
    def key(self) -> tuple[str, int]:
        return self.task, self.sample


@dataclass(frozen=True)
class Recorded:
    """A file of results."""

    path: Path
    header: Mapping[str, Any]
    samples: tuple[Sample, ...]
    records: tuple[Mapping[str, Any], ...] = ()
    """The lines that ``samples`` are read from, with all their keys."""

    @property
    def name(self) -> str:
        return str(self.header.get("bench") or self.path)


def read(path: Path) -> Recorded:
    """The results in ``path``: a header line, then one JSON object a task and sample.

    Raises:
        InputError: no such file, another format, or a line that is no record, naming the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # not splitlines: a string may hold other line separators
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}", "give a bench's id or its results.jsonl") from error
    header = _object(path, 1, lines[0] if lines else "")
    if header.get("kind") != "bench" or header.get("format") != FORMAT:
        seen = f"kind {header.get('kind')!r}, format {header.get('format')!r}"
        raise InputError(f"{path} has {seen}; expected kind 'bench', format {FORMAT}", "give the results.jsonl of a bench")
    samples: dict[tuple[str, int], Sample] = {}
    records = []
    for number, line in enumerate(lines[1:], 2):
        if line.strip():
            record = _object(path, number, line)
            sample = _checked(path, number, record)
            if sample.key in samples:
                raise InputError(f"{path}, line {number}: {sample.task}, sample {sample.sample} is there twice", "keep one")
            samples[sample.key] = sample
            records.append(record)
    return Recorded(path, header, tuple(samples.values()), tuple(records))


def parse(record: Mapping[str, Any]) -> Sample:
    """One record. A speedup of a sample that is not correct is not taken in.

    Raises:
        KeyError, TypeError, ValueError: a key is missing or its value is of another kind.
    """
    status, correct = str(record["status"]), record["correct"]
    if status not in _STATUSES or correct is not (status in ("improved", "solved")):
        raise ValueError(f"status {status!r} with correct {correct!r}; statuses: {', '.join(_STATUSES)}")
    speedup = record.get("speedup") or {} if correct else {}
    theirs = record.get("upstream") or {}
    return Sample(
        task=str(record["task"]),
        level=str(record.get("level") or ""),
        category=str(record.get("category") or ""),
        sample=int(record["sample"]),
        status=status,
        compiled=bool(record["compiled"]),
        correct=correct,
        speedup={name: _interval(speedup[name]) for name in BASELINES if speedup.get(name) is not None},
        latency_us=_interval(record["latency_us"]) if correct and record.get("latency_us") is not None else None,
        roofline_us=_positive(record.get("roofline_us")),
        roofline_fraction=_amount(record.get("roofline_fraction")),
        cost_usd=_amount(record.get("cost_usd")),
        tokens=int(_amount(record.get("tokens")) or 0),
        judge_seconds=_amount(record.get("judge_seconds")) or 0.0,
        device=record.get("device"),
        backend=str(record.get("backend") or ""),
        reason=str(record.get("reason") or ""),
        upstream=_flag(theirs.get("correct")),
        upstream_speedup=_positive(theirs.get("speedup")),
    )


def _object(path: Path, number: int, line: str) -> Mapping[str, Any]:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:  # no JSON; an integer of thousands of digits; too deeply nested
        raise InputError(f"{path}, line {number} is no JSON: {error}", "give the results.jsonl of a bench") from error
    if not isinstance(data, dict):
        raise InputError(f"{path}, line {number} is no JSON object", "give the results.jsonl of a bench")
    return data


def _checked(path: Path, number: int, data: Mapping[str, Any]) -> Sample:
    try:
        return parse(data)
    except KeyError as error:
        raise InputError(f"{path}, line {number} has no {error}", "docs/bench.md has the keys of a record") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{path}, line {number}: {error}", "docs/bench.md has the keys of a record") from error


def _interval(values: Sequence[Any]) -> Interval:
    median, low, high = (float(value) for value in values)
    if not (low > 0 and high < _MOST):
        raise ValueError(f"interval {values!r} is not above 0 and finite, below {_MOST:g}")
    return Interval(median, low, high)


def _flag(value: Any) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"{value!r} is neither true nor false")
    return value


def _positive(value: Any) -> float | None:
    if value is None:
        return None
    if not 0 < float(value) < _MOST:
        raise ValueError(f"{value!r} is not above 0 and finite, below {_MOST:g}")
    return float(value)


def _amount(value: Any) -> float | None:
    if value is None:
        return None
    if not 0 <= float(value) < _MOST:
        raise ValueError(f"{value!r} is below 0, not finite, or not below {_MOST:g}")
    return float(value)

"""One bottleneck label for a kernel, and only the metrics that matter to it.

The label follows CUDAMaster's filter: compute utilisation above 30 %, else memory utilisation above 30 %, else latency.
Utilisations come from a profile in the verdict's evidence where there is one, else from the roofline: a kernel at fraction f
of a ceiling uses f of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kernelwright.tasks.records import CaseTiming, Verdict

LABELS = ("memory", "compute", "latency", "unknown")
THRESHOLD = 0.30

_COMPUTE_KEYS = ("compute_utilisation", "compute_percent", "sm__throughput")
_MEMORY_KEYS = ("memory_utilisation", "memory_percent", "dram__throughput")
_RELEVANT = {
    "memory": ("spill", "vector", "vectoriz", "load", "store", "local", "register"),
    "compute": ("register", "spill", "shared", "mma", "hgmma", "wgmma", "vectoriz", "instruction", "occupancy"),
    "latency": ("register", "spill", "shared", "occupancy", "launch", "warps", "stages", "barrier"),
    "unknown": ("spill", "register", "shared"),
}
_LONGEST = 12
"""Metrics shown at most."""


@dataclass(frozen=True)
class Metric:
    """A figure that matters to the label, ready to print."""

    name: str
    value: str


@dataclass(frozen=True)
class Diagnosis:
    """``label`` is one of :data:`LABELS`; ``case`` is the timing case that is furthest from the roofline."""

    label: str
    metrics: tuple[Metric, ...] = ()
    case: str = ""


def diagnose(verdict: Verdict | None) -> Diagnosis:
    """The bottleneck of the kernel that ``verdict`` is about; ``unknown`` without a timing or a profile."""
    if verdict is None:
        return Diagnosis("unknown")
    compute, memory = _utilisation(verdict)
    worst = _worst(verdict)
    if compute is None and memory is None:
        return Diagnosis("unknown", _compiler_metrics(verdict.evidence, "unknown"))
    if compute is not None and compute > THRESHOLD:
        label = "compute"
    elif memory is not None and memory > THRESHOLD:
        label = "memory"
    else:
        label = "latency"
    metrics = (*_figures(compute, memory, verdict, worst), *_compiler_metrics(verdict.evidence, label))
    return Diagnosis(label, metrics[:_LONGEST], f"{worst.case} {worst.dtype}" if worst else "")


def fraction(timing: CaseTiming) -> float | None:
    """Share of the roofline that a case reaches; None where no roofline is known."""
    if timing.roofline_us is None or timing.latency_us.median <= 0:
        return None
    return timing.roofline_us / timing.latency_us.median


def _utilisation(verdict: Verdict) -> tuple[float | None, float | None]:
    """Shares of the compute and memory ceilings in use, each None when unknown."""
    profile = dict(_numbers(verdict.evidence))
    compute = _share(profile, _COMPUTE_KEYS)
    memory = _share(profile, _MEMORY_KEYS)
    if compute is not None or memory is not None or verdict.timing is None:
        return compute, memory
    by_bound: dict[str, list[float]] = {}
    for case in verdict.timing.cases:
        reached = fraction(case)
        if reached is not None:
            by_bound.setdefault(case.bound or "memory", []).append(reached)
    shares = {bound: sum(values) / len(values) for bound, values in by_bound.items()}
    if not shares and verdict.timing.roofline_fraction is not None:
        return None, verdict.timing.roofline_fraction
    return shares.get("compute"), shares.get("memory")


def _share(profile: Mapping[str, float], keys: tuple[str, ...]) -> float | None:
    for name, value in profile.items():
        if any(key in name for key in keys):
            return value / 100 if value > 1.5 else value
    return None


def _worst(verdict: Verdict) -> CaseTiming | None:
    cases = verdict.timing.cases if verdict.timing else ()
    known = [(reached, case) for case in cases if (reached := fraction(case)) is not None]
    return min(known, key=lambda pair: pair[0])[1] if known else None


def _figures(
    compute: float | None, memory: float | None, verdict: Verdict, worst: CaseTiming | None
) -> Iterator[Metric]:
    if compute is not None:
        yield Metric("compute utilisation", f"{compute:.0%}")
    if memory is not None:
        yield Metric("memory utilisation", f"{memory:.0%}")
    if verdict.timing is not None and verdict.timing.roofline_fraction is not None:
        yield Metric("roofline fraction", f"{verdict.timing.roofline_fraction:.2f}")
    if worst is not None and worst.roofline_us is not None:
        spent = worst.latency_us.median
        yield Metric("furthest from the roofline", f"{worst.case} {worst.dtype}, {spent:.1f} µs of {worst.roofline_us:.1f} µs possible")
    if verdict.library_share:
        yield Metric("share of time in library calls", f"{verdict.library_share:.0%}")


def _compiler_metrics(evidence: Mapping[str, Any], label: str) -> tuple[Metric, ...]:
    """What the compiler said that bears on ``label``."""
    words = _RELEVANT[label]
    shown = [
        Metric(name.replace("_", " "), f"{value:g}")
        for name, value in _numbers(evidence)
        if any(word in name.lower() for word in words) and not any(k in name for k in _COMPUTE_KEYS + _MEMORY_KEYS)
    ]
    return tuple(shown[:_LONGEST])


def _numbers(data: Mapping[str, Any], prefix: str = "", depth: int = 0) -> Iterator[tuple[str, float]]:
    """Numeric leaves of nested evidence by dotted name."""
    for key, value in data.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and depth < 4:
            yield from _numbers(value, f"{name}.", depth + 1)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield name, float(value)

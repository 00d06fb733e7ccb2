"""One bottleneck label for a kernel, and only the metrics that matter to it.

The label follows CUDAMaster's filter: compute utilisation above 30 %, else memory utilisation above 30 %, else latency.
Utilisations come from the profile in the verdict's evidence where there is one, else from the roofline: a kernel at
fraction f of a ceiling uses f of it. What compilers said is added where there is no profile, and of host code always.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from kernelwright.agent.prompt import diagnosis_compiler, diagnosis_profile
from kernelwright.tasks.records import CaseTiming, Verdict

LABELS = ("memory", "compute", "latency", "unknown")
THRESHOLD = 0.30

_COMPUTE_KEYS = ("compute_utilisation", "compute_percent", "sm__throughput")
_MEMORY_KEYS = ("memory_utilisation", "memory_percent", "dram__throughput")
_LONGEST = 14
"""Metrics shown at most."""


@dataclass(frozen=True)
class Metric:
    """A figure that matters to the label, ready to print."""

    name: str
    value: str


@dataclass(frozen=True)
class Diagnosis:
    """``label`` is one of :data:`LABELS`."""

    label: str
    metrics: tuple[Metric, ...] = ()
    origin: str = ""
    """Where the label comes from: ``profile``, ``roofline``, or empty where nothing is known."""
    memory_too: bool = False
    """Compute-bound by the filter, and memory is busier still."""


def diagnose(verdict: Verdict | None, source: str = "") -> Diagnosis:
    """The bottleneck of the kernel that ``verdict`` is about; ``unknown`` without a timing or a profile.

    ``source``: the kernel's, to quote the lines that a compiler named.
    """
    if verdict is None:
        return Diagnosis("unknown")
    profile = _profile(verdict)
    profiled = _shares(profile)
    compute, memory = profiled if profiled != (None, None) else _by_roofline(verdict)
    if compute is None and memory is None:
        label = "unknown"
    elif compute is not None and compute > THRESHOLD:
        label = "compute"
    elif memory is not None and memory > THRESHOLD:
        label = "memory"
    else:
        label = "latency"
    found = chain(
        diagnosis_profile.facts(profile, label),
        diagnosis_compiler.facts(verdict.evidence, label, source),
    )
    metrics = (*_figures(compute, memory, verdict), *(Metric(name, value) for name, value in found))
    origin = "" if label == "unknown" else "profile" if profiled != (None, None) else "roofline"
    busier = label == "compute" and memory is not None and compute is not None and memory > compute
    return Diagnosis(label, metrics[:_LONGEST], origin, busier)


def fraction(timing: CaseTiming) -> float | None:
    """Share of the roofline that a case reaches; None where no roofline is known."""
    if timing.roofline_us is None or timing.latency_us.median <= 0:
        return None
    return timing.roofline_us / timing.latency_us.median


def _profile(verdict: Verdict) -> Mapping[str, Any]:
    found = verdict.evidence.get("profile")
    return found if isinstance(found, Mapping) else {}


def _shares(profile: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Shares of the compute and memory ceilings in use by a profile, each None when unknown."""
    return _share(profile, _COMPUTE_KEYS), _share(profile, _MEMORY_KEYS)


def _by_roofline(verdict: Verdict) -> tuple[float | None, float | None]:
    if verdict.timing is None:
        return None, None
    by_bound: dict[str, list[float]] = {}
    for case in verdict.timing.cases:
        reached = fraction(case)
        if reached is not None:
            by_bound.setdefault(case.bound or "memory", []).append(reached)
    shares = {bound: sum(values) / len(values) for bound, values in by_bound.items()}
    if not shares:
        return None, verdict.timing.roofline_fraction
    return shares.get("compute"), shares.get("memory")


def _share(profile: Mapping[str, Any], keys: Sequence[str]) -> float | None:
    """A utilisation as a share: names that say percent are percentages, others by their size."""
    for name, value in profile.items():
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if number and any(key in name for key in keys):
            return value / 100 if "percent" in name or value > 1.5 else float(value)
    return None


def _figures(compute: float | None, memory: float | None, verdict: Verdict) -> Iterator[Metric]:
    if compute is not None:
        yield Metric("compute utilisation", f"{compute:.0%}")
    if memory is not None:
        yield Metric("memory utilisation", f"{memory:.0%}")
    cases = verdict.timing.cases if verdict.timing else ()
    known = [(reached, case) for case in cases if (reached := fraction(case)) is not None]
    if len(known) > 1:
        reached, worst = min(known, key=lambda pair: pair[0])
        least, took = worst.roofline_us or 0.0, worst.latency_us.median
        where = f"{worst.case} {worst.dtype}, at {reached:.0%} ({took:.1f} µs where {least:.1f} would do)"
        yield Metric("furthest from its roofline", where)
    if verdict.library_share:
        yield Metric("share of the time in library calls", f"{verdict.library_share:.0%}")

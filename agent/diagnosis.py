"""One bottleneck label for a kernel, and only the metrics that matter to it.

The label follows CUDAMaster's filter: compute utilisation above 30 %, else memory utilisation above 30 %, else latency.
Utilisations come from a profile in the verdict's evidence where there is one, else from the roofline: a kernel at
fraction f of a ceiling uses f of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kernelwright.tasks.records import CaseTiming, Verdict

LABELS = ("memory", "compute", "latency", "unknown")
THRESHOLD = 0.30

_COMPUTE_KEYS = ("compute_utilisation", "compute_percent", "sm__throughput")
_MEMORY_KEYS = ("memory_utilisation", "memory_percent", "dram__throughput")
_OPCODES = {
    "memory": ("LDG", "LDG.128", "STG", "STG.128", "LDL", "STL", "zmm", "ymm", "gather"),
    "compute": ("HGMMA", "HMMA", "FFMA", "MUFU", "LDL", "STL", "zmm", "ymm", "fma", "divide"),
    "latency": ("BAR", "SHFL", "MUFU", "LDL", "STL", "ATOMG", "zmm", "ymm", "call", "divide"),
    "unknown": ("LDL", "STL", "HGMMA", "LDG.128", "zmm", "ymm"),
}
"""Label -> instructions whose count bears on it: SASS opcodes, and what the host compiler's mix counts."""
_LONGEST = 12
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


def diagnose(verdict: Verdict | None) -> Diagnosis:
    """The bottleneck of the kernel that ``verdict`` is about; ``unknown`` without a timing or a profile."""
    if verdict is None:
        return Diagnosis("unknown")
    compute, memory = _utilisation(verdict)
    if compute is None and memory is None:
        label = "unknown"
    elif compute is not None and compute > THRESHOLD:
        label = "compute"
    elif memory is not None and memory > THRESHOLD:
        label = "memory"
    else:
        label = "latency"
    metrics = (*_figures(compute, memory, verdict), *_compiled(verdict.evidence, label))
    return Diagnosis(label, metrics[:_LONGEST])


def fraction(timing: CaseTiming) -> float | None:
    """Share of the roofline that a case reaches; None where no roofline is known."""
    if timing.roofline_us is None or timing.latency_us.median <= 0:
        return None
    return timing.roofline_us / timing.latency_us.median


def _utilisation(verdict: Verdict) -> tuple[float | None, float | None]:
    """Shares of the compute and memory ceilings in use, each None when unknown."""
    profile = dict(_numbers(verdict.evidence))
    compute, memory = _share(profile, _COMPUTE_KEYS), _share(profile, _MEMORY_KEYS)
    if compute is not None or memory is not None or verdict.timing is None:
        return compute, memory
    by_bound: dict[str, list[float]] = {}
    for case in verdict.timing.cases:
        reached = fraction(case)
        if reached is not None:
            by_bound.setdefault(case.bound or "memory", []).append(reached)
    shares = {bound: sum(values) / len(values) for bound, values in by_bound.items()}
    if not shares:
        return None, verdict.timing.roofline_fraction
    return shares.get("compute"), shares.get("memory")


def _share(profile: Mapping[str, float], keys: Sequence[str]) -> float | None:
    """A utilisation as a share; a profiler's percentages are above 1.5."""
    for name, value in profile.items():
        if any(key in name for key in keys):
            return value / 100 if value > 1.5 else value
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
        yield Metric("furthest from its roofline", f"{worst.case} {worst.dtype}, at {reached:.0%}")
    if verdict.library_share:
        yield Metric("share of the time in library calls", f"{verdict.library_share:.0%}")


def _compiled(evidence: object, label: str, depth: int = 0) -> Iterator[Metric]:
    """What compilers said that bears on ``label``: of GPU launches their resources, of host loops whether they vectorised."""
    if depth > 6:
        return
    if isinstance(evidence, Mapping):
        if "registers" in evidence:
            yield _launch(evidence, label)
            return
        if "vectorised" in evidence:
            yield from _loops(evidence, label)
            return
        for value in evidence.values():
            yield from _compiled(value, label, depth + 1)
    elif isinstance(evidence, (list, tuple)):
        for value in evidence:
            yield from _compiled(value, label, depth + 1)


def _launch(launch: Mapping[str, Any], label: str) -> Metric:
    facts = [f"{launch['registers']} registers a thread"]
    if launch.get("spill_bytes"):
        facts.append(f"{launch['spill_bytes']} bytes spilled a thread")
    if label != "memory":
        for key, unit in (("shared_bytes", "bytes of shared memory"), ("num_warps", "warps"), ("num_stages", "stages")):
            if launch.get(key):
                facts.append(f"{launch[key]} {unit}")
    return Metric(f"kernel {launch.get('name', '')}", ", ".join((*facts, *_mix(launch.get("instructions"), label))))


def _loops(report: Mapping[str, Any], label: str) -> Iterator[Metric]:
    widths = [int(width) for width in report["vectorised"].values()]
    widest = f", widest {max(widths)} bytes" if widths else ""
    yield Metric("loops vectorised in the native source", f"{len(widths)}{widest}")
    scalar = [str(line) for line in report.get("scalar", ()) if str(line) not in report["vectorised"]]
    if scalar:
        yield Metric("loops left scalar", f"lines {', '.join(scalar[:12])} of the native source")
    mix = _mix(report.get("instructions"), label)
    if mix:
        yield Metric("instructions", ", ".join(mix))


def _mix(instructions: object, label: str) -> tuple[str, ...]:
    if not isinstance(instructions, Mapping):
        return ()
    return tuple(f"{instructions[name]} {name}" for name in _OPCODES[label] if instructions.get(name))


def _numbers(data: Mapping[str, Any], prefix: str = "", depth: int = 0) -> Iterator[tuple[str, float]]:
    """Numeric leaves of nested evidence by dotted name."""
    for key, value in data.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and depth < 4:
            yield from _numbers(value, f"{name}.", depth + 1)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield name, float(value)

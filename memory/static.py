"""What a compiler estimates of a kernel that nothing could time: simulated kernels are compared by it, only with each other.

It is no time and no speedup, and never stands beside one: a kernel with a timing takes the place of any without.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from kernelwright.tasks.records import Attempt, Verdict


@dataclass(frozen=True)
class Static:
    """An estimate of one call."""

    where: str
    """The compiler's target and the shape case; estimates of others do not compare."""
    cycles: int


def static(verdict: Verdict | None) -> Static | None:
    """The estimate in a verdict's evidence; None where the kernel was timed, or a kernel of a launch has no estimate."""
    if verdict is None or not verdict.passed or verdict.timing is not None:
        return None
    compiled = verdict.evidence.get("compiled") or {}
    for target, kernels in (compiled.get("schedules") or {}).items():
        if kernels and all("cycles" in kernel for kernel in kernels):
            return Static(f"{target}, {compiled.get('case', '')}", sum(int(kernel["cycles"]) for kernel in kernels))
    return None


def cycles(attempts: Collection[Attempt]) -> dict[str, int]:
    """Attempt -> estimated cycles; empty unless every one has an estimate, and all of them for the same target and case."""
    found = {attempt.id: static(attempt.verdict) for attempt in attempts}
    known = {id_: estimate for id_, estimate in found.items() if estimate is not None}
    alike = len(known) == len(found) and len({estimate.where for estimate in known.values()}) == 1
    return {id_: estimate.cycles for id_, estimate in known.items()} if alike else {}


def ranked(passed: Iterable[Attempt]) -> tuple[Attempt, ...]:
    """Passed attempts of one task, those without a timing last and by their estimates, if these compare; else as they come."""
    known = tuple(passed)
    untimed = [attempt for attempt in known if attempt.speedup is None]
    estimates = cycles(untimed)
    untimed.sort(key=lambda attempt: estimates.get(attempt.id, 0))  # stable
    return (*(attempt for attempt in known if attempt.speedup is not None), *untimed)

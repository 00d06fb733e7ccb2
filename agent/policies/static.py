"""What a compiler estimates of a kernel that nothing could time: simulated kernels are compared by it, only with each other.

It is no time and no speedup, and never stands beside one: a kernel with a timing takes the place of any without.
"""

from __future__ import annotations

from dataclasses import dataclass

from kernelwright.tasks.records import Verdict


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

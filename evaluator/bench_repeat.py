"""Do figures repeat: one kernel judged again and again, each time by a new judge, reference and runner."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

from kernelwright.evaluator.bench_kernels import Work
from kernelwright.evaluator.figures import pool
from kernelwright.evaluator.judge import Judge
from kernelwright.evaluator.settings import Settings
from kernelwright.tasks.errors import HarnessError
from kernelwright.tasks.records import Verdict

GROUPS = 3
"""Groups that are compared."""


def repeat(backend: str, device: str, cache: Path, settings: Settings, work: Work, processes: int = 3) -> dict[str, Any]:
    """Speedups against the best baseline, one a judging and one a group; ``spread``: of either, largest less least over median.

    ``processes``: judgings pooled in each group. On a GPU also latencies in µs. Without sanitizers: they say nothing of time.

    Raises:
        HarnessError: the kernel did not pass.
    """
    groups = [[_judged(backend, device, cache, settings, work) for _ in range(processes)] for _ in range(GROUPS)]
    single = [_speedup(v) for group in groups for v in group]
    pooled = [_speedup(pool(group)) for group in groups]
    found = {"single": single, "single_spread": _spread(single), "pooled": pooled, "pooled_spread": _spread(pooled)}
    if device != "cpu":
        latencies = [v.timing.latency_us.median for group in groups for v in group if v.timing is not None]
        found |= {"latency_us": [round(us, 2) for us in latencies], "latency_spread": _spread(latencies)}
    return found


def _judged(backend: str, device: str, cache: Path, settings: Settings, work: Work) -> Verdict:
    with Judge(backend, device, cache, settings) as judge:
        verdict = judge.judge(work.kernel(0), work.task)
    if verdict.timing is None:
        raise HarnessError(f"the kernel was not timed: {verdict.status.value}: {verdict.reason}")
    return verdict


def _speedup(verdict: Verdict) -> float:
    assert verdict.timing is not None
    return round(verdict.timing.speedup["best"].median, 4)


def _spread(values: list[float]) -> float:
    return round((max(values) - min(values)) / median(values), 4)

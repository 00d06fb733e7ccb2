"""From samples to figures: one case's times and ratios, the headline over cases, and several judgings pooled."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from kernelwright.evaluator.stopwatch import geometric_mean, interval
from kernelwright.tasks.records import CaseTiming, Interval, Timing, Verdict

CANDIDATE = "candidate"
"""The candidate's name among the sides of a contest."""


def case_timing(case: str, dtype: str, judgings: Sequence[Mapping[str, Sequence[float]]]) -> CaseTiming:
    """The figures of one case from the µs a call of each side, block by block, of one judging or several."""
    names = [n for n in judgings[0] if n != CANDIDATE and all(n in j for j in judgings)]
    baselines = {name: interval([j[name] for j in judgings]) for name in names}
    speedup = {
        name: interval([[b / c for b, c in zip(j[name], j[CANDIDATE], strict=True)] for j in judgings]) for name in names
    }
    if names:
        speedup["best"] = speedup[min(names, key=lambda n: baselines[n].median)]
    return CaseTiming(
        case=case,
        dtype=dtype,
        latency_us=interval([j[CANDIDATE] for j in judgings]),
        baselines=baselines,
        speedup=speedup,
        blocks=sum(len(j[CANDIDATE]) for j in judgings),
    )


def samples_key(case: str, dtype: str) -> str:
    """Under which a verdict's evidence keeps the samples of a timing case."""
    return f"{case}/timing/{dtype}"


def pool(verdicts: Sequence[Verdict]) -> Verdict:
    """One verdict for several of the same kernel, each from a fresh process; figures from all their blocks.

    The bootstrap draws processes first, then blocks, so that processes that disagree widen the interval.
    """
    timed = [v for v in verdicts if v.timing is not None and "samples_us" in v.evidence]
    if not timed or timed[0].timing is None:
        return verdicts[0]
    cases = []
    for case in timed[0].timing.cases:
        key = samples_key(case.case, case.dtype)
        judgings: list[Mapping[str, Any]] = [v.evidence["samples_us"][key] for v in timed]
        pooled = case_timing(case.case, case.dtype, judgings)
        cases.append(replace(pooled, roofline_us=case.roofline_us, bound=case.bound, notes=case.notes))
    evidence = {**timed[0].evidence, "judgings": [v.evidence["samples_us"] for v in timed]}
    best = headline(cases, len(timed))
    reason = f"{in_words(best)}, over {len(timed)} processes"
    seconds = sum(v.seconds for v in verdicts)
    return replace(timed[0], timing=best, evidence=evidence, reason=reason, seconds=seconds)


def in_words(timing: Timing) -> str:
    """The headline: ``1.52x the best baseline (compile)``, or where there is none the latency alone."""
    if "best" not in timing.speedup:
        return f"{timing.latency_us.median:.1f} us a call; there is no baseline here, so no speedup"
    return f"{timing.speedup['best'].median:.2f}x the best baseline ({timing.best_baseline})"


def headline(cases: Sequence[CaseTiming], processes: int = 1) -> Timing:
    """Geometric means over the timing cases; baselines that every case has."""
    names = set(cases[0].baselines)
    for case in cases[1:]:
        names &= set(case.baselines)
    speedup: dict[str, Interval] = {
        name: geometric_mean([c.speedup[name] for c in cases]) for name in sorted(names and names | {"best"})
    }
    bounded = [c.roofline_us / c.latency_us.median for c in cases if c.roofline_us]
    fraction = math.exp(sum(map(math.log, bounded)) / len(bounded)) if len(bounded) == len(cases) else None
    return Timing(
        latency_us=geometric_mean([c.latency_us for c in cases]),
        baselines={name: geometric_mean([c.baselines[name] for c in cases]) for name in sorted(names)},
        speedup=speedup,
        best_baseline=min(sorted(names), key=lambda n: speedup[n].median, default=""),
        roofline_fraction=fraction,
        cases=tuple(cases),
        processes=processes,
    )

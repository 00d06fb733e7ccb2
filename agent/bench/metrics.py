"""Figures of a bench: how much was solved, how fast, near which bound, at what cost. Formulas and sources: docs/bench.md.

A task's value is the mean over its samples, so figures of benches with different numbers of samples mean the same:
what one sample gives. A failed sample counts as failed in every rate; it has no speedup, and never counts as 1.0x.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from kernelwright.agent.bench.records import BASELINES, Sample
from kernelwright.agent.bench.resampling import geometric_mean, mean
from kernelwright.tasks.records import Interval

THRESHOLDS = (0.0, 1.0, 1.5, 2.0, 5.0)
_KS = (1, 2, 3, 5, 10, 20, 50, 100)

Tasks = Mapping[str, Sequence[Sample]]


@dataclass(frozen=True)
class Fast:
    """fast_p: the share of all tasks that were solved more than ``p`` times as fast as the baseline."""

    p: float
    share: Interval
    """By medians, over tasks."""
    tasks: float
    """Tasks behind ``share``; a task of which half the samples are that fast counts one half."""
    sure: float
    """The same count, of those whose speedup's whole interval is above ``p``."""


@dataclass(frozen=True)
class Against:
    """Speed against one baseline."""

    baseline: str
    fast: tuple[Fast, ...]
    geomean: Interval | None
    """Geometric mean of speedups over the tasks that have one; None where none has."""
    measured: int
    """Tasks in ``geomean``."""
    unmeasured: int
    """Tasks solved, but with no timing of this baseline: above no ``p`` but 0."""
    failed: int
    """Tasks solved in no sample, in ``fast`` and not in ``geomean``."""


@dataclass(frozen=True)
class Beside:
    """What the suite's own rule says of the same kernels."""

    judged: int
    """Samples that it could be computed for; the other figures are over these, and their tasks."""
    passes: int
    not_held: int
    """Of ``passes``, those that are not correct by our judge."""
    only_here: int
    """Correct by our judge alone."""
    correct: Interval
    fast: Mapping[str, Interval]
    """p -> share of tasks that are right and over p times as fast as the reference, by the suite's rule; empty: untimed."""


@dataclass(frozen=True)
class Figures:
    """All figures of some tasks. Every interval is a 95 % bootstrap over tasks."""

    tasks: int
    samples: int
    refused: int
    """Tasks that were refused, among those that failed."""
    solved: int
    """Tasks solved in at least one sample."""
    compiled: Interval
    """Share of samples of which any attempt got past the build."""
    correct: Interval
    pass_at: Mapping[int, Interval]
    """k -> pass@k, up to the fewest samples that any task has."""
    against: Mapping[str, Against]
    sol_score: Interval | None
    """Mean over tasks, a failure being 0; without samples for which it is not defined."""
    sol_undefined: int
    """Correct samples without a SOL score: no bound or baseline known, or the baseline is at the bound."""
    roofline_fraction: Interval | None
    """Mean over solved tasks that have one."""
    usd_per_solved: float | None
    """All that was spent, failures too, over ``solved``; None where a price is unknown or nothing was solved."""
    tokens_per_solved: float | None
    judge_seconds_per_solved: float | None
    upstream: Beside | None = None
    """None where upstream's rule was not asked, or cannot be computed."""


@dataclass(frozen=True)
class Summary:
    """Figures of all tasks, and of those of each level and category."""

    all: Figures
    levels: Mapping[str, Figures]
    categories: Mapping[str, Figures]


def summarise(samples: Sequence[Sample]) -> Summary | None:
    """The figures of a bench; None where it has no record yet."""
    if not samples:
        return None
    return Summary(figures(samples), _split(samples, lambda s: s.level), _split(samples, lambda s: s.category))


def figures(samples: Sequence[Sample]) -> Figures:
    """The figures of some samples, at least one."""
    tasks = by_task(samples)
    solved = sum(any(s.correct for s in own) for own in tasks.values())
    costs = [s.cost_usd for s in samples]
    usd = None if None in costs else math.fsum(cost for cost in costs if cost is not None)
    scores = [[sol_score(s) for s in own] for own in tasks.values()]
    defined = [[score for score in own if score is not None] for own in scores]
    rooflines = ([s.roofline_fraction for s in own if s.correct and s.roofline_fraction is not None] for own in tasks.values())
    return Figures(
        tasks=len(tasks),
        samples=len(samples),
        refused=sum(all(s.status == "refused" for s in own) for own in tasks.values()),
        solved=solved,
        compiled=_share(tasks, lambda s: s.compiled),
        correct=_share(tasks, lambda s: s.correct),
        pass_at=_pass_at(tasks),
        against={name: _against(tasks, name) for name in BASELINES},
        sol_score=mean([_mean(own) for own in defined if own]),
        sol_undefined=sum(score is None for own in scores for score in own),
        roofline_fraction=mean([_mean(own) for own in rooflines if own]),
        usd_per_solved=usd / solved if usd is not None and solved else None,
        tokens_per_solved=sum(s.tokens for s in samples) / solved if solved else None,
        judge_seconds_per_solved=math.fsum(s.judge_seconds for s in samples) / solved if solved else None,
        upstream=_beside([s for s in samples if s.upstream is not None]),
    )


def by_task(samples: Iterable[Sample]) -> dict[str, list[Sample]]:
    """Task -> its samples in order."""
    found: dict[str, list[Sample]] = {}
    for sample in sorted(samples, key=lambda s: s.sample):
        found.setdefault(sample.task, []).append(sample)
    return found


def faster(sample: Sample, baseline: str, p: float, *, sure: bool = False) -> bool:
    """Whether a sample counts in fast_p: correct, and its median (``sure``: its whole interval) above ``p``.

    At ``p`` of 0 that is being correct, timed or not.
    """
    if not sample.correct or p <= 0:
        return sample.correct
    speedup = sample.speedup.get(baseline)
    return speedup is not None and (speedup.low if sure else speedup.median) > p


def pass_at_k(n: int, c: int, k: int) -> float:
    """The unbiased estimate of pass@k from ``n`` samples of which ``c`` are correct (Chen et al. 2021, equation 1).

    Raises:
        ValueError: not 0 <= c <= n, or not 1 <= k <= n.
    """
    if not (0 <= c <= n and 1 <= k <= n):
        raise ValueError(f"pass@{k} of {n} samples, {c} correct, is not defined")
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


def sol_score(sample: Sample) -> float | None:
    """1/(1 + (T - T_sol)/(T_base - T_sol)): 0.5 at the baseline's time, 1 at the bound (speed of light) T_sol.

    T is the latency, T_base the best baseline's (latency times speedup), T_sol the roofline's bound. A failure is 0, the
    limit for endless T. A T below T_sol, within the bound's own error, is 1. None without a bound or a baseline, and where
    the baseline is at the bound or below: there the formula has no meaning.
    """
    if not sample.correct:
        return 0.0
    speedup, least = sample.speedup.get("best"), sample.roofline_us
    if speedup is None or least is None or sample.latency_us is None:
        return None
    time = sample.latency_us.median
    headroom = time * speedup.median - least
    if headroom <= 0:
        return None
    return headroom / (headroom + max(0.0, time - least))  # the formula, without its quotient: headroom may be tiny


def _against(tasks: Tasks, baseline: str) -> Against:
    solved = {task: [s for s in own if s.correct] for task, own in tasks.items()}
    solved = {task: own for task, own in solved.items() if own}
    timed = [[math.log(s.speedup[baseline].median) for s in own if baseline in s.speedup] for own in solved.values()]
    values = [math.exp(_mean(logs)) for logs in timed if logs]
    return Against(
        baseline=baseline,
        fast=tuple(_fast(tasks, baseline, p) for p in THRESHOLDS),
        geomean=geometric_mean(values),
        measured=len(values),
        unmeasured=len(solved) - len(values),
        failed=len(tasks) - len(solved),
    )


def _beside(samples: Sequence[Sample]) -> Beside | None:
    if not samples:
        return None
    tasks = by_task(samples)
    timed = any(s.upstream_speedup is not None for s in samples)

    def above(sample: Sample, p: float) -> bool:
        return sample.upstream is True and (p <= 0 or (sample.upstream_speedup or 0.0) > p)

    return Beside(
        judged=len(samples),
        passes=sum(s.upstream is True for s in samples),
        not_held=sum(s.upstream is True and not s.correct for s in samples),
        only_here=sum(s.correct and not s.upstream for s in samples),
        correct=_share(tasks, lambda s: s.upstream is True),
        fast={f"{p:g}": _share(tasks, partial(above, p=p)) for p in THRESHOLDS if timed},
    )


def _fast(tasks: Tasks, baseline: str, p: float) -> Fast:
    share = _share(tasks, lambda s: faster(s, baseline, p))
    sure = math.fsum(_mean([float(faster(s, baseline, p, sure=True)) for s in own]) for own in tasks.values())
    return Fast(p, share, share.median * len(tasks), sure)


def _pass_at(tasks: Tasks) -> dict[int, Interval]:
    fewest = min(len(own) for own in tasks.values())
    found = {}
    for k in sorted({*(k for k in _KS if k <= fewest), fewest}):
        interval = mean([pass_at_k(len(own), sum(s.correct for s in own), k) for own in tasks.values()])
        if interval is not None:
            found[k] = interval
    return found


def _share(tasks: Tasks, holds: Callable[[Sample], bool]) -> Interval:
    found = mean([_mean([float(holds(s)) for s in own]) for own in tasks.values()])
    if found is None:
        raise ValueError("figures of no task are not defined")
    return found


def _split(samples: Sequence[Sample], of: Callable[[Sample], str]) -> dict[str, Figures]:
    names = sorted({of(s) for s in samples} - {""})
    return {name: figures([s for s in samples if of(s) == name]) for name in names}


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)

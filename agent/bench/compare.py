"""Two benches side by side, paired by task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from kernelwright.agent.bench.metrics import Summary, by_task, summarise
from kernelwright.agent.bench.records import BASELINES, Recorded, Sample
from kernelwright.agent.bench.resampling import geometric_mean, mcnemar
from kernelwright.tasks.errors import InputError
from kernelwright.tasks.records import Interval


@dataclass(frozen=True)
class Pair:
    """One task in both benches; ``win`` and ``loss`` are A's."""

    task: str
    outcome: str
    """``win``, ``tie``, ``loss``; ``neither`` where none solved it, ``untimed`` where both did and one has no timing."""
    a: Interval | None
    """A's speedup; None where it has none."""
    b: Interval | None
    a_solved: bool
    b_solved: bool

    @property
    def ratio(self) -> float | None:
        return self.a.median / self.b.median if self.a and self.b else None


@dataclass(frozen=True)
class Comparison:
    """What two benches say about each other."""

    a: str
    b: str
    baseline: str
    devices: tuple[str, ...]
    """More than one where benches of different devices were let through."""
    pairs: tuple[Pair, ...]
    ratio: Interval | None
    """Geometric mean of A's speedup over B's, where both have one; above 1, A is faster. Needs two such tasks."""
    timed: int
    """Tasks behind ``ratio``."""
    only_a_solved: int
    only_b_solved: int
    p_value: float
    """McNemar's exact test of whether one solves more than the other."""
    only_in_a: tuple[str, ...]
    """Tasks that B has no record of."""
    only_in_b: tuple[str, ...]
    summary_a: Summary | None
    """Of all of A's records, those of tasks that B lacks too."""
    summary_b: Summary | None

    @property
    def counts(self) -> Counter[str]:
        return Counter(pair.outcome for pair in self.pairs)


def compare(a: Recorded, b: Recorded, baseline: str = "best", *, across_devices: bool = False) -> Comparison:
    """Pair the tasks of two benches and count who is better on them, against ``baseline``.

    Of each task both have as many samples as the one with fewer, the first ones; the best of them stands for the task,
    so that more samples are no advantage.

    Raises:
        InputError: an unknown baseline, no task in common, or different devices without ``across_devices``.
    """
    if baseline not in BASELINES:
        raise InputError(f"unknown baseline {baseline!r}", f"one of: {', '.join(BASELINES)}")
    devices = {own.name: sorted({s.device for s in own.samples if s.device}) for own in (a, b)}
    known = tuple(sorted({device for names in devices.values() for device in names}))
    if len(known) > 1 and not across_devices:
        ran = " and ".join(f"{name} ran on {', '.join(names) or 'none'}" for name, names in devices.items())
        raise InputError(f"different devices: {ran}", "speedups of one do not hold for the other; --across-devices compares")
    of_a, of_b = by_task(a.samples), by_task(b.samples)
    common = [task for task in of_a if task in of_b]
    if not common:
        raise InputError(f"{a.name} and {b.name} have no task in common", "give two benches of one suite")
    pairs = tuple(_pair(task, of_a[task], of_b[task], baseline) for task in common)
    ratios = [pair.ratio for pair in pairs if pair.ratio is not None]
    only_a = sum(pair.a_solved and not pair.b_solved for pair in pairs)
    only_b = sum(pair.b_solved and not pair.a_solved for pair in pairs)
    return Comparison(
        a=a.name,
        b=b.name,
        baseline=baseline,
        devices=known,
        pairs=pairs,
        ratio=geometric_mean(ratios) if len(ratios) > 1 else None,
        timed=len(ratios),
        only_a_solved=only_a,
        only_b_solved=only_b,
        p_value=mcnemar(only_a, only_b),
        only_in_a=tuple(task for task in of_a if task not in of_b),
        only_in_b=tuple(task for task in of_b if task not in of_a),
        summary_a=summarise(a.samples),
        summary_b=summarise(b.samples),
    )


def _pair(task: str, a: Sequence[Sample], b: Sequence[Sample], baseline: str) -> Pair:
    shared = min(len(a), len(b))
    a, b = a[:shared], b[:shared]
    a_solved, b_solved = any(s.correct for s in a), any(s.correct for s in b)
    of_a, of_b = _best(a, baseline), _best(b, baseline)
    if a_solved != b_solved:
        outcome = "win" if a_solved else "loss"
    elif not a_solved:
        outcome = "neither"
    elif of_a is None or of_b is None:
        outcome = "untimed"
    elif of_a.low > of_b.high:
        outcome = "win"
    else:
        outcome = "loss" if of_b.low > of_a.high else "tie"
    return Pair(task, outcome, of_a, of_b, a_solved, b_solved)


def _best(samples: Sequence[Sample], baseline: str) -> Interval | None:
    timed = [s.speedup[baseline] for s in samples if baseline in s.speedup]
    return max(timed, key=lambda speedup: speedup.median, default=None)

"""The comparison in the synthetic world: arms over the same landscapes, paired, with bootstrap intervals over landscapes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from typing import Any

from kernelwright.agent.bench.resampling import geometric_mean, mean
from kernelwright.agent.bench.search.trial import Arm, Result, run
from kernelwright.agent.bench.search.world import Landscape, World
from kernelwright.memory.recall import Settings
from kernelwright.tasks.records import Interval

NONE = Arm("none", Settings(places=0, knowledge=0), valued=False)
SIMILAR = Arm("similar", Settings(pool=(1.0, 1.0), epsilon=(0.0, 0.0)), valued=False)
VALUE = Arm("value")
SMALL = Arm("value, lambda 2", Settings(pool=(2.0, 2.0)))
LARGE = Arm("value, lambda 15", Settings(pool=(15.0, 15.0)))
COLD = Arm("value, hard tasks only", only_hard=True)
CEILING = Arm("all known", Settings(places=0, knowledge=0), valued=False, omniscient=True)
ARMS = (NONE, SIMILAR, VALUE, SMALL, LARGE, COLD, CEILING)
NULL_ARMS = (NONE, VALUE)
NULL_PAIRS = ((VALUE, NONE, False),)
PAIRS = (
    (VALUE, NONE, False),
    (VALUE, SIMILAR, False),
    (SIMILAR, NONE, False),
    (LARGE, SMALL, False),
    (VALUE, SMALL, False),
    (LARGE, SMALL, True),
    (VALUE, COLD, True),
    (CEILING, NONE, False),
)
"""(one arm, the other, whether of the hard tasks alone)."""


@dataclass(frozen=True)
class Figures:
    """One arm in one landscape."""

    solved: float
    """Share of tasks with a feasible kernel within the budget."""
    first: float
    """Mean number of the first feasible attempt; a task without any counts as one more than its budget."""
    speedup: float
    """ln of the best speedup against eager, mean over tasks; whoever has nothing faster stays with eager: 0."""


def figures(results: Sequence[Result], budget: int) -> Figures:
    """The figures of some tasks."""
    logs = [math.log(r.best) for r in results if r.best is not None]
    return Figures(
        sum(r.first is not None for r in results) / len(results),
        sum(budget + 1 if r.first is None else r.first for r in results) / len(results),
        sum(max(0.0, x) for x in logs) / len(results),
    )


def compare(world: World, seeds: int, jobs: int, progress: Callable[[str], None]) -> dict[str, Any]:
    """Both worlds: every arm's figures, and the paired differences of :data:`PAIRS`."""
    work = [(world, arm, seed, "") for seed in range(seeds) for arm in ARMS]
    nothing = world.nothing()
    work += [(nothing, arm, seed, arm.name) for seed in range(seeds) for arm in NULL_ARMS]
    results: dict[tuple[bool, str, int], list[Result]] = {}
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        for (where, arm, seed, _), found in zip(work, pool.map(_trial, work), strict=True):
            results[where.null, arm.name, seed] = found
            if len(results) % 20 == 0:
                progress(f"{len(results)} of {len(work)} trials")
    return {
        "world": asdict(world),
        "seeds": seeds,
        "tasks": len(world.obstacles) * world.families,
        "arms": {arm.name: _summary(results, False, arm, seeds, world.budget) for arm in ARMS},
        "differences": _differences(results, False, PAIRS, seeds, world.budget),
        "null": {
            "arms": {arm.name: _summary(results, True, arm, seeds, world.budget) for arm in NULL_ARMS},
            "differences": _differences(results, True, NULL_PAIRS, seeds, world.budget),
        },
    }


def _trial(what: tuple[World, Arm, int, str]) -> list[Result]:
    world, arm, seed, salt = what
    return run(arm, Landscape(world, seed), salt)


_Results = Mapping[tuple[bool, str, int], Sequence[Result]]


def _summary(results: _Results, null: bool, arm: Arm, seeds: int, budget: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for label, hard in (("all", None), ("easy", False), ("hard", True)):
        of_seeds = []
        for seed in range(seeds):
            chosen = [r for r in results[null, arm.name, seed] if hard is None or r.hard is hard]
            if chosen:
                of_seeds.append(figures(chosen, budget))
        if of_seeds and not (arm.only_hard and hard is None):
            found[label] = {
                "solved": shown(mean([f.solved for f in of_seeds])),
                "attempts_to_first": shown(mean([f.first for f in of_seeds])),
                "speedup": shown(geometric_mean([math.exp(f.speedup) for f in of_seeds])),
            }
    return found


def _differences(
    results: _Results, null: bool, pairs: Sequence[tuple[Arm, Arm, bool]], seeds: int, budget: int
) -> list[dict[str, Any]]:
    found = []
    for one, other, only_hard in pairs:
        sides = [
            [figures([r for r in results[null, arm.name, seed] if r.hard or not only_hard], budget) for seed in range(seeds)]
            for arm in (one, other)
        ]
        both = list(zip(*sides, strict=True))
        found.append(
            {
                "arm": one.name,
                "against": other.name,
                "tasks": "hard" if only_hard else "all",
                "solved": shown(mean([a.solved - b.solved for a, b in both])),
                "attempts_to_first": shown(mean([a.first - b.first for a, b in both])),
                "speedup_ratio": shown(geometric_mean([math.exp(a.speedup - b.speedup) for a, b in both])),
                "speedup_ratio_where_both_solved": shown(_where_both(results, null, (one, other), only_hard, seeds)),
            }
        )
    return found


def _where_both(results: _Results, null: bool, pair: tuple[Arm, Arm], only_hard: bool, seeds: int) -> Interval | None:
    """Best speedup of one arm over that of the other, over the tasks that both solved: a geometric mean a landscape."""
    ratios = []
    for seed in range(seeds):
        best = [{r.task: r.best for r in results[null, arm.name, seed] if r.best and (r.hard or not only_hard)} for arm in pair]
        logs = [math.log(best[0][task] / best[1][task]) for task in sorted(best[0].keys() & best[1].keys())]
        if logs:
            ratios.append(math.exp(sum(logs) / len(logs)))
    return geometric_mean(ratios)


def shown(interval: Interval | None) -> dict[str, float] | None:
    """An interval with four digits after the point."""
    if interval is None:
        return None
    return {"mean": round(interval.median, 4), "low": round(interval.low, 4), "high": round(interval.high, 4)}


def table(found: Mapping[str, Any]) -> list[str]:
    """The figures as lines of text."""
    lines = []
    for title, part in (("synthetic world", found), ("null world", found["null"])):
        lines += [f"{title}: {found['seeds']} landscapes of {found['tasks']} tasks"]
        for name, sides in part["arms"].items():
            for label, f in sides.items():
                figures_ = f"solved {_text(f['solved'], 100, '%')}, first feasible {_text(f['attempts_to_first'])}"
                lines.append(f"  {name:24} {label:5} {figures_}, speedup {_text(f['speedup'])}")
        for d in part["differences"]:
            what = f"  {d['arm']} against {d['against']}, {d['tasks']} tasks:"
            figures_ = f"solved {_text(d['solved'], 100, ' points')}, first feasible {_text(d['attempts_to_first'])}"
            figures_ += f", speedup x{_text(d['speedup_ratio'])}"
            lines.append(f"{what} {figures_}; where both solved x{_text(d['speedup_ratio_where_both_solved'])}")
    return lines


def _text(f: Mapping[str, float] | None, factor: float = 1.0, unit: str = "") -> str:
    if f is None:
        return "none"
    digits = 1 if factor == 100 else 2
    return f"{factor * f['mean']:.{digits}f}{unit} [{factor * f['low']:.{digits}f}, {factor * f['high']:.{digits}f}]"

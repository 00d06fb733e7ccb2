"""Policies on a recording: how many kernels each has judged before it has found one nearly as fast as the best there is."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

from kernelwright.agent.bench.resampling import LEVELS, RESAMPLES, mean
from kernelwright.agent.bench.search.actors import verdict
from kernelwright.agent.bench.search.recording import Judged, Recorded, Recording
from kernelwright.agent.bench.search.synthetic import shown
from kernelwright.agent.bench.search.trial import Arm, opened, quick, searched
from kernelwright.agent.loop import Parts
from kernelwright.agent.policies import POLICIES
from kernelwright.agent.watch import Silence
from kernelwright.agent.writers.playbook import space as spaces
from kernelwright.agent.writers.playbook.writer import next_point
from kernelwright.agent.writers.writer import Assignment
from kernelwright.evaluator.device import DeviceInfo
from kernelwright.evaluator.engines.engine import Job
from kernelwright.memory.recall import Settings
from kernelwright.tasks.errors import InputError
from kernelwright.tasks.records import Answer, Attempt, Interval, Kernel, Stage, Status, Task, Verdict

GOALS = (0.95, 0.99)
"""Shares of the best known speed."""
RANDOM, EXHAUSTIVE = "random", "exhaustive"
SIDES = (*(name for name in POLICIES if name != "recorded"), RANDOM, EXHAUSTIVE)


class Proposer:
    """The playbook as a writer, without tracing and emitting: its choice of the next point, over a recorded space."""

    name = "playbook"

    def __init__(self, recorded: Recorded) -> None:
        self._recorded = recorded

    def write(self, assignment: Assignment) -> Answer:
        point = next_point(self._recorded.space, assignment, lambda point: self._recorded.of(point).kernel)
        if point is None:
            return Answer("", None, problem="every point was tried", model=self.name)
        source = f'KERNEL = "{self._recorded.of(point).kernel}"\n'
        kernel = Kernel(source, assignment.backend)
        return Answer(source, kernel, strategy=f"playbook: at {spaces.key(point)}", model=self.name)

    def told(self, attempt: Attempt) -> None:
        return None

    def close(self) -> None:
        return None


class UntilDone(Silence):
    """Stops a search that has nothing left to show."""

    def __init__(self, engine: LookUp) -> None:
        self._engine = engine

    def stopping(self) -> bool:
        return self._engine.done


class LookUp:
    """The recorded verdicts as an engine. ``seen``: the kernels it was asked about, each once, in order."""

    def __init__(self, recorded: Recorded) -> None:
        self._recorded = recorded
        self._enough = max(GOALS) * best(recorded.judged)
        self.seen: dict[str, None] = {}
        self.done = False
        """The highest goal is reached, or nothing new is left."""

    def admit(self, task: Task) -> None:
        return None

    def evaluate(self, job: Job) -> Verdict:
        found = self._recorded.judged[job.kernel.source.split('"')[1]]
        self.seen.setdefault(found.kernel)
        self.done |= _speed(found) >= self._enough or len(self.seen) == len(self._recorded.judged)
        speedup = None if found.speedup is None else Interval(*found.speedup)
        return verdict(job, Status(found.status), Stage(found.stage), found.reason, speedup)

    def device(self) -> DeviceInfo:
        return DeviceInfo("cpu", "recorded device")

    def close(self) -> None:
        return None


def order_of(side: str, name: str, recorded: Recorded, seed: int) -> list[str]:
    """The kernels that a side has judged, in its order; a policy goes on until the highest goal is reached."""
    if side in (RANDOM, EXHAUSTIVE):
        kernels = list(recorded.kernels)
        if side == RANDOM:
            random.Random(f"random {name} {seed}").shuffle(kernels)
        return list(dict.fromkeys(kernels))
    task = Task(name, "", "", (), family=recorded.family)
    arm = Arm(side, Settings(places=0, knowledge=0, seeds=None), policy=side)
    engine = LookUp(recorded)
    with tempfile.TemporaryDirectory(prefix="kernelwright-replay-", dir=quick()) as home:
        memory = opened(Path(home), arm.settings, [task], len(recorded.kernels))
        try:
            parts = Parts(memory.store, memory, Proposer(recorded), engine, recorded.backend)
            searched(task, arm, parts, seed, len(recorded.kernels), UntilDone(engine))
        finally:
            memory.close()
    return list(engine.seen)


def needed(order: Iterable[str], judged: Mapping[str, Judged], goal: float) -> int:
    """How many of ``order`` until one has ``goal`` of the best speed; where none has, one more than there are kernels."""
    enough = goal * best(judged)
    for number, kernel in enumerate(order, 1):
        if _speed(judged[kernel]) >= enough:
            return number
    return len(judged) + 1


def best(judged: Mapping[str, Judged]) -> float:
    """The best known speedup against eager."""
    return max(map(_speed, judged.values()), default=0.0)


def compare(recording: Recording, seeds: int, jobs: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Every side on every task that is recorded in full.

    Raises:
        InputError: none is, or none of its kernels was timed.
    """
    whole = {name: r for name, r in recording.tasks.items() if not r.missing and best(r.judged) > 0}
    for name in recording.tasks.keys() - whole.keys():
        say(f"{name}: left out: not recorded in full, or nothing was timed")
    if not whole:
        raise InputError("no task is recorded in full", "run `bench_search record` again with the same file")
    work = [(side, name, r, seed) for name, r in whole.items() for side in SIDES for seed in range(seeds)]
    counts: dict[tuple[str, str, float], list[int]] = {}
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        for (side, name, r, _), order in zip(work, pool.map(_order, work, chunksize=4), strict=True):
            for goal in GOALS:
                counts.setdefault((side, name, goal), []).append(needed(order, r.judged, goal))
    return {
        "recording": {"created": recording.created, "environment": recording.environment, "loads": recording.loads},
        "seeds": seeds,
        "tasks": {name: _of_task(name, r, counts) for name, r in whole.items()},
        "against_random": {str(goal): _against_random(list(whole), counts, goal, seeds) for goal in GOALS},
    }


def _order(what: tuple[str, str, Recorded, int]) -> list[str]:
    return order_of(*what)


def _of_task(name: str, r: Recorded, counts: Mapping[tuple[str, str, float], Sequence[int]]) -> dict[str, Any]:
    speeds = sorted((_speed(j) for j in r.judged.values()), reverse=True)
    return {
        "points": len(r.kernels),
        "kernels": len(r.judged),
        "infeasible": sum(j.status != Status.PASSED.value for j in r.judged.values()),
        "best": speeds[0],
        "median": median(speeds),
        "first_point": _speed(r.judged[r.kernels[0]]),
        "half_width": _half_width(r),
        "near": {str(goal): sum(s >= goal * speeds[0] for s in speeds) for goal in GOALS},
        "evaluations": {
            side: {str(goal): shown(mean([float(n) for n in counts[side, name, goal]])) for goal in GOALS} for side in SIDES
        },
    }


def _half_width(r: Recorded) -> float | None:
    """Of the speedups' intervals, relative, the median: differences below it are noise."""
    widths = [(j.speedup[2] - j.speedup[1]) / 2 / j.speedup[0] for j in r.judged.values() if j.speedup]
    return round(median(widths), 4) if widths else None


def _against_random(
    names: Sequence[str], counts: Mapping[tuple[str, str, float], Sequence[int]], goal: float, seeds: int
) -> dict[str, Any]:
    """Evaluations of each side over those of random search, all tasks and seeds together: a ratio of means."""
    totals = {side: [sum(counts[side, n, goal][seed] for n in names) for seed in range(seeds)] for side in SIDES}
    return {side: shown(_ratio(totals[side], totals[RANDOM])) for side in SIDES}


def _ratio(ones: Sequence[int], others: Sequence[int]) -> Interval:
    """The ratio of two means, with its bootstrap interval over pairs. (A mean of ratios would favour whoever varies less.)"""
    import numpy as np

    drawn = np.random.default_rng(0).integers(0, len(ones), (RESAMPLES, len(ones)))
    one, other = np.asarray(ones, dtype=np.float64), np.asarray(others, dtype=np.float64)
    low, high = (float(x) for x in np.quantile(one[drawn].sum(axis=1) / other[drawn].sum(axis=1), LEVELS))
    middle = float(one.sum() / other.sum())
    return Interval(middle, min(low, middle), max(high, middle))


def _speed(judged: Judged) -> float:
    return judged.speedup[0] if judged.speedup else 0.0


def table(found: Mapping[str, Any]) -> list[str]:
    """The figures as lines of text."""
    lines = []
    for name, task in found["tasks"].items():
        near = ", ".join(f"{n} at {float(goal):.0%}" for goal, n in task["near"].items())
        lines.append(f"{name}: {task['kernels']} kernels of {task['points']} points, {task['infeasible']} infeasible; {near}")
        for side, goals in task["evaluations"].items():
            said = ", ".join(f"{float(g):.0%}: {f['mean']:.1f} [{f['low']:.1f}, {f['high']:.1f}]" for g, f in goals.items())
            lines.append(f"  {side:12} {said}")
    lines.append("evaluations over those of random search, all tasks:")
    for side in SIDES:
        said = ", ".join(
            f"{float(g):.0%}: {f[side]['mean']:.2f} [{f[side]['low']:.2f}, {f[side]['high']:.2f}]"
            for g, f in found["against_random"].items()
        )
        lines.append(f"  {side:12} {said}")
    return lines

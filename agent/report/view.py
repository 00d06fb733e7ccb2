"""What the page shows, worked out from the records. No figure here that does not come from a verdict."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from kernelwright.memory.records import Line, RunRecord, Spent, Step, TaskOutcome
from kernelwright.memory.spending import COLUMNS, by, total
from kernelwright.tasks.records import Assurance, Interval, Task, Timing, Verdict

SOLVED = ("improved", "solved")


class Drawn(Protocol):
    """An attempt as charts and graphs need it."""

    @property
    def number(self) -> int: ...
    @property
    def stage(self) -> str: ...
    @property
    def parent(self) -> int | None: ...
    @property
    def status(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def strategy(self) -> str: ...
    @property
    def won(self) -> bool: ...
    @property
    def latency(self) -> Interval | None: ...
    @property
    def speedup(self) -> float | None: ...


@dataclass(frozen=True)
class AttemptView:
    """One step of a task, as a row and as a node of the graph."""

    number: int
    id: str
    stage: str
    """``draft``, ``refine``, or ``repair`` of either that was rejected."""
    parent: int | None
    """Number of the attempt it started from."""
    status: str
    """The verdict's status, ``unreadable``, or ``waiting`` while an answer or a verdict is still to come."""
    decided: str
    """The stage of the cascade that decided."""
    reason: str
    strategy: str
    source: str
    verdict: Verdict | None
    won: bool
    prompt: str = ""
    """What was sent, to the byte; empty where nobody was asked."""
    backend: str = ""
    """What its kernel is written in; empty where none could be read."""

    @property
    def verified(self) -> str:
        """How far the verdict went: ``device``, ``simulated``…; empty while there is none."""
        return self.verdict.assurance.value if self.verdict else ""

    @property
    def timing(self) -> Timing | None:
        return self.verdict.timing if self.verdict else None

    @property
    def latency(self) -> Interval | None:
        return self.timing.latency_us if self.timing else None

    @property
    def speedup(self) -> float | None:
        return self.verdict.speedup if self.verdict else None


@dataclass(frozen=True)
class Cost:
    """What writing and judging took."""

    label: str
    answers: int
    tokens_in: int
    tokens_out: int
    dollars: float
    unpriced: int
    """Answers whose price nobody knows."""
    writing_seconds: float
    judging_seconds: float


@dataclass(frozen=True)
class Spending:
    """The ledger of a run, three times over: each table adds up to the same total."""

    tables: Mapping[str, Mapping[str, Spent]]
    """By task, model and role."""
    lines: tuple[Line, ...]
    total: Spent


@dataclass(frozen=True)
class TaskView:
    """All that the page says about one task."""

    task: Task
    status: str
    reason: str
    attempts: tuple[AttemptView, ...]
    winner: AttemptView | None
    verdict: Verdict | None
    """The winner's last word: the audited verdict where there is one, else the attempt's own."""
    files: tuple[str, ...]
    """Links to the exported kernel, relative to the page."""
    costs: tuple[Cost, ...]

    @property
    def timing(self) -> Timing | None:
        return self.verdict.timing if self.verdict else None

    @property
    def solved(self) -> bool:
        return self.status in SOLVED

    @property
    def with_library(self) -> bool:
        """Part of the winner's time is spent in library calls that the task allows: such kernels are ranked apart."""
        return bool(self.verdict and self.verdict.library_share)

    @property
    def untimed(self) -> str:
        """Why a winner has no timing, in words; empty where it has one."""
        if self.verdict is None or self.timing is not None:
            return ""
        if self.verdict.assurance is Assurance.SIMULATED:
            return "numerics verified in simulation; not timed, since no device of this kind ran it"
        return f"not timed; verified as far as: {self.verdict.assurance.value}"

    @property
    def counts(self) -> list[tuple[str, int]]:
        """Statuses of the attempts, most frequent first."""
        return Counter(a.status for a in self.attempts).most_common()


def task_view(
    task: Task, status: str, steps: Sequence[Step], outcome: TaskOutcome | None, files: tuple[str, ...] = ()
) -> TaskView:
    """The view of ``task`` from its ``steps``; ``status`` stands in where the task has no outcome yet."""
    numbers = {step.idea.id: step.idea.number for step in steps}
    won = outcome.best if outcome else _fastest(steps)
    attempts = tuple(_attempt(step, numbers, won) for step in steps)
    winner = next((a for a in attempts if a.won), None)
    verdict = (outcome.verdict if outcome else None) or (winner.verdict if winner else None)
    return TaskView(
        task=task,
        status=outcome.status if outcome else status,
        reason=outcome.reason if outcome else "the run has not come to an outcome for this task",
        attempts=attempts,
        winner=winner,
        verdict=verdict,
        files=files,
        costs=costs(steps),
    )


def run_views(
    run: RunRecord,
    steps: Sequence[Step],
    outcomes: Mapping[str, TaskOutcome],
    files: Mapping[str, tuple[str, ...]],
) -> list[TaskView]:
    """One view a task of the run, in the run's order."""
    views = []
    for task in run.tasks:
        own = sorted((s for s in steps if s.idea.task == task.name), key=lambda s: s.idea.number)
        views.append(task_view(task, run.status, own, outcomes.get(task.name), files.get(task.name, ())))
    return views


def costs(steps: Sequence[Step]) -> tuple[Cost, ...]:
    """One row a model or writer, in order of appearance."""
    models = dict.fromkeys(s.answer.model or "unnamed" for s in steps if s.answer)
    rows = []
    for model in models:
        own = [s for s in steps if s.answer and (s.answer.model or "unnamed") == model]
        answers = [s.answer for s in own if s.answer]
        rows.append(
            Cost(
                label=model,
                answers=len(answers),
                tokens_in=sum(a.tokens_in for a in answers),
                tokens_out=sum(a.tokens_out for a in answers),
                dollars=sum(a.cost_usd or 0.0 for a in answers),
                unpriced=sum(a.cost_usd is None for a in answers),
                writing_seconds=sum(a.seconds for a in answers),
                judging_seconds=sum(s.verdict.seconds for s in own if s.verdict),
            )
        )
    return tuple(rows)


def spending(ledger: Sequence[Line]) -> Spending | None:
    """The ledger's tables; None where nothing was spent: the playbook and a replay call no model."""
    lines = tuple(line for line in ledger if line.spent.calls or line.spent.cost_usd != 0)
    if not lines:
        return None
    tables = {column: {name or "no task": part for name, part in by(column, lines).items()} for column in COLUMNS}
    return Spending(tables, lines, total(line.spent for line in lines))


def geometric_mean(intervals: Sequence[Interval]) -> Interval | None:
    """Geometric mean of speedups, with the interval that their own intervals carry over to it.

    The half-widths of independent measurements add in quadrature, in logarithms: this is the measurement's spread for
    these tasks, not a claim about other tasks.
    """
    if not intervals:
        return None
    n = len(intervals)
    middle = sum(math.log(i.median) for i in intervals) / n
    below = math.hypot(*(math.log(i.median / i.low) for i in intervals)) / n
    above = math.hypot(*(math.log(i.high / i.median) for i in intervals)) / n
    return Interval(math.exp(middle), math.exp(middle - below), math.exp(middle + above))


def baselines(timings: Sequence[Timing]) -> list[str]:
    """All baseline names of ``timings``, eager first; ``best`` is not a baseline but the fastest of them."""
    names = dict.fromkeys(name for timing in timings for name in timing.speedup if name != "best")
    return sorted(names, key=lambda name: name != "eager")


def _attempt(step: Step, numbers: Mapping[str, int], won: str | None) -> AttemptView:
    answer, verdict = step.answer, step.verdict
    if verdict is not None:
        status, reason = verdict.status.value, verdict.reason
    elif answer is None:
        status, reason = "waiting", "the answer is still to come"
    elif answer.kernel is None:
        status, reason = "unreadable", answer.problem
    else:
        status, reason = "waiting", "the verdict is still to come"
    return AttemptView(
        number=step.idea.number,
        id=step.idea.id,
        stage="repair" if step.context.start is not None and not step.context.start.feasible else step.idea.stage.value,
        parent=numbers.get(step.idea.parent or ""),
        status=status,
        decided=verdict.stage.value if verdict else "",
        reason=reason,
        strategy=answer.strategy if answer else "",
        source=answer.kernel.source if answer and answer.kernel else "",
        verdict=verdict,
        won=step.idea.id == won,
        prompt=answer.prompt if answer else "",
        backend=answer.kernel.backend if answer and answer.kernel else "",
    )


def _fastest(steps: Sequence[Step]) -> str | None:
    passed = [s for s in steps if s.verdict and s.verdict.passed]
    best = max(passed, key=lambda s: (s.verdict.speedup or 0.0) if s.verdict else 0.0, default=None)
    return best.idea.id if best else None

"""What recorded runs tell of each model that wrote in them: the figures of `kernelwright bench ensemble`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from kernelwright.agent.ensemble.diversity import Spread, embedded, k_star, mean_of
from kernelwright.agent.ensemble.gains import Outcome, cost, cost_unit, gains
from kernelwright.agent.recording import Recording
from kernelwright.tasks.errors import InputError
from kernelwright.tasks.records import Answer, Attempt


@dataclass(frozen=True)
class Record:
    """One answer of a recorded run and what came of it."""

    outcome: Outcome
    answer: Answer

    @property
    def score(self) -> float:
        """log speedup against eager; 0 for what is not faster than the reference, which then stays in use."""
        return max(0.0, math.log(self.outcome.speedup)) if self.outcome.speedup else 0.0


@dataclass(frozen=True)
class Member:
    """One model's figures over all recordings."""

    member: str
    attempts: int
    tasks: int
    solved: float
    """Share of its tasks on which an attempt of its own was feasible."""
    gain: float
    """Sum of the gains of its attempts (:func:`~kernelwright.agent.gains.gains`), natural logarithm."""
    cost_usd: float | None
    """None when any price is unknown."""
    tokens: int
    gain_per_usd: float | None
    """None when the price of any answer is unknown, or nothing was paid."""
    gain_per_million_tokens: float | None
    """None when no tokens were used."""
    diversity: Spread | None
    """K* of its readable answers alone, a mean over tasks; None without any."""


class Records:
    """The answers of several recordings, by task and member."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.all = tuple(records)
        self.members = tuple(dict.fromkeys(r.outcome.model for r in records))
        self.unit = cost_unit([r.outcome for r in records])
        self._of: dict[str, list[Record]] = {}
        for record in records:
            self._of.setdefault(record.outcome.task, []).append(record)
        self.tasks = tuple(self._of)
        readable = {task: [r.answer for r in own if r.answer.kernel is not None] for task, own in self._of.items()}
        self._vectors = {task: embedded(answers) for task, answers in readable.items() if answers}

    def scores(self, task: str, member: str) -> list[float]:
        """Scores of the member's attempts on the task, ascending."""
        return sorted(r.score for r in self._of[task] if r.outcome.model == member)

    def mean_cost(self, member: str) -> float:
        """Of one of the member's attempts, in :attr:`unit`."""
        own = [cost(r.outcome, self.unit) for r in self.all if r.outcome.model == member]
        return math.fsum(own) / len(own)

    def spread(self, members: Sequence[str], tasks: Iterable[str] | None = None, attempts: int | None = None) -> Spread | None:
        """K* of what ``members`` wrote, a mean over ``tasks`` (all of them); None where nothing was readable.

        ``attempts``: count only so many first attempts of each member on a task, so that sets compare.
        """
        found = []
        for task in self.tasks if tasks is None else tasks:
            own = self._of[task]
            first = [r for m in members for r in [r for r in own if r.outcome.model == m][:attempts]]
            wanted = {id(r) for r in first}
            places = [i for i, r in enumerate(r for r in own if r.answer.kernel is not None) if id(r) in wanted]
            if places:
                found.append(Spread(len(places), k_star(self._vectors[task][places])))
        return mean_of(found) if found else None


def read(recordings: Sequence[Recording]) -> Records:
    """The answers of ``recordings`` together.

    Raises:
        InputError: a run given twice, a replay, a run without a model's answers, or runs that cannot be compared.
    """
    _check(recordings)
    steps = [step for recording in recordings for step in recording.steps]
    records = []
    for step in steps:
        answer = replace(step.answer, model=step.answer.model or "unnamed")
        records.append(Record(Outcome.of(Attempt(step.idea, answer, step.verdict)), answer))
    return Records(records)


def figures(records: Records) -> tuple[Member, ...]:
    """One row a member, most improvement for its cost first; those without a known cost after the others."""
    gained = gains(r.outcome for r in records.all)
    rows = [_figures(name, gained, records) for name in records.members]
    rate = {r.member: r.gain_per_usd if records.unit == "dollars" else r.gain_per_million_tokens for r in rows}
    return tuple(sorted(rows, key=lambda r: (rate[r.member] is None, -(rate[r.member] or 0.0), r.member)))


def _figures(name: str, gained: dict[Outcome, float], records: Records) -> Member:
    own = [r.outcome for r in records.all if r.outcome.model == name]
    tasks = {o.task for o in own}
    gain = math.fsum(gained[o] for o in own)
    prices = [o.cost_usd for o in own]
    dollars = None if None in prices else math.fsum(p for p in prices if p is not None)
    tokens = sum(o.tokens for o in own)
    return Member(
        member=name,
        attempts=len(own),
        tasks=len(tasks),
        solved=len({o.task for o in own if o.feasible}) / len(tasks),
        gain=gain,
        cost_usd=dollars,
        tokens=tokens,
        gain_per_usd=gain / dollars if dollars else None,
        gain_per_million_tokens=gain / tokens * 1e6 if tokens else None,
        diversity=records.spread([name]),
    )


def _check(recordings: Sequence[Recording]) -> None:
    seen: set[str] = set()
    for recording in recordings:
        run, model = recording.run, str(recording.config.get("model", ""))
        if run in seen:
            raise InputError(f"run {run} is given twice", "give each run once, by its id or by its recording")
        seen.add(run)
        if model.startswith("replay:"):
            raise InputError(f"run {run} repeats another run at no cost", f"give that run: {model.removeprefix('replay:')}")
        if not any(step.answer.prompt for step in recording.steps):
            wrote = f"its writer was {model or 'unknown'}" if recording.steps else "nothing in it was answered and judged"
            raise InputError(f"run {run} holds no model's answer: {wrote}", "give runs of --model provider/model[,…]")
    _same("backends", [str(r.config.get("backend")) for r in recordings])
    _same("devices", [r.device.name for r in recordings if r.device is not None])
    tasks: dict[str, str] = {}
    for task in (task for recording in recordings for task in recording.tasks):
        if tasks.setdefault(task.name, task.task_id) != task.task_id:
            raise InputError(f"the runs have two tasks by the name {task.name}", "give runs of the same task files")


def _same(noun: str, names: Sequence[str]) -> None:
    different = sorted(set(names))
    if len(different) > 1:
        raise InputError(f"the runs are of different {noun}: {', '.join(different)}", "speedups compare on one only")

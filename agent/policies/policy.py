"""The policy seam, and the book of attempts that policies choose from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from kernelwright.memory.static import static
from kernelwright.tasks.errors import InputError
from kernelwright.tasks.records import Attempt, Idea, IdeaStage, Status, digest

MARGIN = 1.01
"""An incumbent is replaced only when the new interval's lower bound beats its median by more than this (design §4)."""

REPAIRABLE = frozenset(s.value for s in Status) - {Status.PASSED.value, Status.UNSUPPORTED.value}
"""Statuses that a writer can do something about. An unreadable answer holds no kernel to repair: the next idea is told why."""


def repairable(failed: Attempt) -> bool:
    """Whether a writer can do something about what became of an attempt: also where it used what a simulator does not model."""
    if failed.status == Status.UNSUPPORTED.value and failed.verdict is not None:
        return failed.verdict.evidence.get("rule") == "not_modelled"
    return failed.status in REPAIRABLE


class Values(Protocol):
    """Stage-specific worth of an item in memory (design §6)."""

    def q(self, stage: str, backend: str, family: str, item: str) -> float: ...


class Policy(Protocol):
    """One task's search.

    A policy is a function of what it was told: telling the same attempts in another order, or in another process,
    leads to the same next idea. Every idea is told at most once. It never blocks.
    """

    def ask(self) -> Idea | None:
        """The next idea; None when the search has ended or as many ideas are in flight as the search allows."""
        ...

    def tell(self, idea: Idea, attempt: Attempt) -> None:
        """What came of ``idea``. Ideas of an earlier process may be told before anything is asked."""
        ...


@dataclass(frozen=True)
class Search:
    """What a policy is made from."""

    run: str
    task: str
    family: str
    backend: str
    seed: int = 0
    budget: int = 30
    """Attempts on this task."""
    patience: int | None = None
    """Stop after this many attempts in a row that did not replace the incumbent, once there is one."""
    target: float | None = None
    """Stop when the median speedup against the best baseline has reached this."""
    jobs: int = 1
    """Ideas in flight at most."""
    repairs: int = 0
    """Ideas in a row that start from a kernel that was rejected, each an attempt of the budget; 0: draft anew."""
    asked: tuple[Idea, ...] = ()
    """Ideas asked by an earlier process and not told yet: they are in flight."""
    script: tuple[Idea, ...] = ()
    """Ideas of a recorded run, for a policy that repeats it."""

    def __post_init__(self) -> None:
        for name, value in (("budget", self.budget), ("jobs", self.jobs), ("patience", self.patience)):
            if value is not None and value < 1:
                raise InputError(f"--{name} is {value}", "give a whole number of at least 1")
        if self.repairs < 0:
            raise InputError(f"--repairs is {self.repairs}", "give a whole number of at least 0")

    def idea(self, number: int, stage: IdeaStage, parent: str | None = None) -> Idea:
        """Idea ``number``; its seed comes from (run seed, task, number)."""
        seed = int(digest(str(self.seed), self.task, str(number))[:8], 16)
        return Idea(self.run, self.task, number, stage, parent, seed)


def replaces(new: Attempt, incumbent: Attempt | None) -> bool:
    """Whether ``new`` takes the place of ``incumbent``: its interval must clear the other's median by the margin.

    Where neither was timed, the compiler's static estimate decides by the same margin, if both have one for the same target;
    where one was timed without a baseline (on a TPU that may be), the latencies do.
    A duplicate brings nothing that its original did not bring.
    """
    if not new.feasible or new.duplicate_of is not None:
        return False
    if incumbent is None:
        return True
    if new.verdict is None or new.verdict.timing is None:
        ours, theirs = static(new.verdict), static(incumbent.verdict)
        return ours is not None and theirs is not None and ours.where == theirs.where and ours.cycles * MARGIN < theirs.cycles
    if incumbent.verdict is None or incumbent.verdict.timing is None:
        return True
    mine, other = new.verdict.timing, incumbent.verdict.timing
    if "eager" in mine.speedup and "eager" in other.speedup:
        return mine.speedup["eager"].low > MARGIN * other.speedup["eager"].median
    return mine.latency_us.high * MARGIN < other.latency_us.median


def best_of(attempts: Iterable[Attempt]) -> Attempt | None:
    """The incumbent after ``attempts``, taken in order of their numbers."""
    best: Attempt | None = None
    for attempt in sorted(attempts, key=lambda a: a.idea.number):
        if replaces(attempt, best):
            best = attempt
    return best


class Book:
    """What a search asked and was told; decides when it ends."""

    def __init__(self, search: Search) -> None:
        self.search = search
        self._flying = {idea.number: idea for idea in search.asked}
        self._told: dict[int, Attempt] = {}

    def tell(self, idea: Idea, attempt: Attempt) -> None:
        """Note what came of ``idea``."""
        self._flying.pop(idea.number, None)
        self._told[idea.number] = attempt

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """What was told, in order of number."""
        return tuple(self._told[n] for n in sorted(self._told))

    @property
    def flying(self) -> tuple[Idea, ...]:
        """What was asked and not told yet, in order of number."""
        return tuple(self._flying[n] for n in sorted(self._flying))

    @property
    def ideas(self) -> tuple[Idea, ...]:
        """Everything that was asked, in flight or told, in order of number."""
        return tuple(sorted((*self._flying.values(), *(a.idea for a in self._told.values())), key=lambda i: i.number))

    def feasible(self) -> tuple[Attempt, ...]:
        """The attempts that passed all gates, each kernel once: P(x) of design §6."""
        return tuple(a for a in self.attempts if a.feasible and a.duplicate_of is None)

    def best(self) -> Attempt | None:
        """The incumbent."""
        return best_of(self._told.values())

    def number(self) -> int | None:
        """The next idea's number; None when the search has ended or enough is in flight."""
        taken = len(self._flying) + len(self._told)
        if taken >= self.search.budget or len(self._flying) >= self.search.jobs or self._satisfied():
            return None
        return max([0, *self._flying, *self._told]) + 1

    def ask(self, stage: IdeaStage, parent: str | None, number: int) -> Idea:
        """Take ``number`` and make the idea."""
        idea = self.search.idea(number, stage, parent)
        self._flying[number] = idea
        return idea

    def repair(self, number: int) -> Idea | None:
        """Take ``number`` for the oldest rejected kernel that is to be repaired; None when there is none.

        The idea starts from the rejected attempt and has its stage: a draft's repair is a draft (its reward is whether it
        passes), a refinement's a refinement. A repair that is rejected is repaired in turn, ``Search.repairs`` rounds in
        all. Once anything passed, drafts are no longer repaired: refining it is worth more. A duplicate is not repaired:
        it shows that the writer has no other answer to the same feedback.
        """
        taken = {i.parent for i in (*self._flying.values(), *(a.idea for a in self._told.values()))}
        drafting = not any(a.feasible for a in self._told.values())
        for failed in self.attempts:
            mendable = repairable(failed) and failed.duplicate_of is None
            wanted = mendable and (drafting or failed.idea.stage is not IdeaStage.DRAFT)
            if wanted and failed.id not in taken and self._rounds(failed) < self.search.repairs:
                return self.ask(failed.idea.stage, failed.id, number)
        return None

    def _rounds(self, attempt: Attempt) -> int:
        """How many repairs in a row have led to ``attempt``, itself included."""
        known = {a.id: a for a in self._told.values()}
        rounds, parent = 0, known.get(attempt.idea.parent or "")
        while parent is not None and not parent.feasible:
            rounds, parent = rounds + 1, known.get(parent.idea.parent or "")
        return rounds

    def _satisfied(self) -> bool:
        best = self.best()
        if best is None:
            return False
        if self.search.target is not None and best.verdict is not None and best.verdict.timing is not None:
            reached = best.verdict.timing.speedup.get("best")
            if reached is not None and reached.median >= self.search.target:
                return True
        since = sum(1 for a in self.attempts if a.idea.number > best.idea.number)
        return self.search.patience is not None and since >= self.search.patience

"""What memory hands out: frozen records of runs, steps, experiences and recalled context."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kernelwright.tasks.records import Answer, Attempt, Idea, Task, Verdict

RUN_STATUSES = ("running", "finished", "interrupted", "waiting")
OUTCOMES = ("improved", "solved", "unsolved", "refused", "waiting")
KINDS = ("api", "practice", "success", "failure", "trace")
LEARNED = ("success", "failure", "trace")
"""Kinds that attempts give; exemplars are traces, too."""
SEEDED = "seed:"
"""How the origin of backend knowledge starts."""


@dataclass(frozen=True)
class RunRecord:
    """One ``optimize`` of one or many tasks; committed before anything else happens."""

    id: str
    config: Mapping[str, Any]
    """What the run was asked for: argv, backend, device, model, policy, budget, seed, jobs…"""
    status: str
    """One of :data:`RUN_STATUSES`."""
    created: str
    """ISO 8601, with the time zone."""
    tasks: tuple[Task, ...]

    @property
    def names(self) -> list[str]:
        """What outcomes are called, as they were asked for: task by task, each on its targets in turn."""
        order = self.config.get("order") or dict.fromkeys(task.asked for task in self.tasks)
        return [name for asked in order for name in [t.name for t in self.tasks if t.asked == asked] or [asked]]

    def __post_init__(self) -> None:
        if self.status not in RUN_STATUSES:
            raise ValueError(f"run status {self.status!r} is none of {', '.join(RUN_STATUSES)}")


@dataclass(frozen=True)
class TaskOutcome:
    """How a task ended in a run."""

    task: str
    status: str
    """One of :data:`OUTCOMES`."""
    attempts: int
    best: str | None
    """Attempt id of the winner."""
    verdict: Verdict | None
    """Final audited verdict of the winner."""
    cost_usd: float | None
    """None when a price is unknown."""
    reason: str

    def __post_init__(self) -> None:
        if self.status not in OUTCOMES:
            raise ValueError(f"outcome {self.status!r} is none of {', '.join(OUTCOMES)}")


@dataclass(frozen=True)
class Experience:
    """One thing that memory knows: knowledge of a backend, a lesson, or a generation trace with its code."""

    id: str
    """A trace's id is its attempt's id."""
    kind: str
    """``api``, ``practice``, ``success``, ``failure`` or ``trace``."""
    stage: str
    """``""``, ``draft`` or ``refine``: where it was learned."""
    backend: str
    device: str
    family: str
    task: str
    text: str
    """What is embedded."""
    code: str
    lesson: str
    status: str
    """Status of the verdict it comes from; empty for knowledge."""
    bottleneck: str
    """``memory``, ``compute``, ``latency`` or unknown."""
    speedup: float | None
    """Against eager, as of :attr:`~kernelwright.tasks.records.Verdict.speedup`."""
    parents: tuple[str, ...]
    """The attempt it comes from, and that attempt's start point."""
    seen: int = 1
    """How many attempts it stands for: near-duplicates are kept once."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"experience kind {self.kind!r} is none of {', '.join(KINDS)}")


@dataclass(frozen=True)
class Recalled:
    """An experience as it was recalled: how near it was and what it was worth then."""

    experience: Experience
    similarity: float
    """Cosine, −1 … 1."""
    q: float


@dataclass(frozen=True)
class Context:
    """What memory gives for one idea."""

    items: tuple[Recalled, ...] = ()
    """At most N, best value first."""
    knowledge: tuple[Experience, ...] = ()
    """About APIs named in the recalled code; beside the N places."""
    start: Attempt | None = None
    """What is to be refined or repaired; None for a first draft."""
    relatives: tuple[Attempt, ...] = ()
    """Children of the start point, then complementary fast variants of the task."""
    history: tuple[Attempt, ...] = ()
    """Finished attempts on this task in this run, in order of number."""

    @property
    def valued(self) -> tuple[str, ...]:
        """Ids whose values an attempt made with this changes: start point, items, knowledge, feasible relatives.

        What failed, a relative or a start point that is to be repaired, is shown as a warning; it is no memory item and has
        no value.
        """
        ids = [self.start.id] if self.start and self.start.feasible else []
        ids += [r.experience.id for r in self.items]
        ids += [e.id for e in self.knowledge]
        ids += [a.id for a in self.relatives if a.feasible]
        return tuple(dict.fromkeys(ids))


@dataclass(frozen=True)
class Step:
    """One idea and what has become of it so far: in flight, or done."""

    idea: Idea
    context: Context
    answer: Answer | None
    verdict: Verdict | None
    learned: bool

    @property
    def attempt(self) -> Attempt | None:
        """The finished attempt: judged, or unreadable; None while something is still to come."""
        if self.answer is None or (self.verdict is None and self.answer.kernel is not None):
            return None
        return Attempt(self.idea, self.answer, self.verdict)


@dataclass(frozen=True)
class Call:
    """One request to a language model and what came of it: a row of the ledger, committed as soon as it is paid for."""

    id: str
    """``<idea id>/<n>``, n from 1 in order of asking."""
    idea: str
    """``""`` for calls outside any idea."""
    role: str
    """Step of the writer: ``plan``, ``code``, ``review``."""
    model: str
    """The model string that was asked."""
    request: str
    """The request's body as JSON, without any key."""
    text: str
    """The answer, byte for byte."""
    problem: str = ""
    """Why the answer is not whole or not there."""
    tokens_in: int = 0
    tokens_out: int = 0
    """Thoughts included, as providers bill them."""
    tokens_cached: int = 0
    """Of ``tokens_in``, those read from the provider's cache."""
    tokens_reasoning: int = 0
    """Of ``tokens_out``, those of thoughts."""
    estimated: bool = False
    """The provider reported no usage (a stream that broke off): tokens are our upper estimate."""
    cost_usd: float | None = None
    """None when the price is unknown."""
    seconds: float = 0.0
    """Waits and further tries included."""
    tries: int = 1
    created: str = ""
    """ISO 8601, with the time zone."""


@dataclass(frozen=True)
class Spent:
    """What a run, or a part of it, has spent on answers."""

    calls: int
    """Of models."""
    tokens_in: int
    tokens_out: int
    cost_usd: float | None
    """None when the price of any answer is unknown."""
    seconds: float
    """Of waiting for answers; calls side by side count one after the other."""


@dataclass(frozen=True)
class Line:
    """One line of a run's ledger."""

    task: str
    """``""`` for what belongs to no task."""
    model: str
    role: str
    """Step of the writer; ``answer`` for what a writer spent that makes no call through the ledger."""
    spent: Spent


@dataclass(frozen=True)
class Stats:
    """What a memory holds."""

    experiences: int
    kinds: Mapping[str, int]
    backends: Mapping[str, int]
    """Backend -> experiences; ``""`` counts those for any backend."""
    values: int
    """Items with a value of their own, over stages, backends and families."""
    visits: int
    """Times that a value was updated."""
    indexed: int
    runs: int
    attempts: int
    archived: Mapping[str, int] = field(default_factory=dict)
    """Reason -> experiences that are recalled no more: ``merged``, ``evicted``, ``replaced`` (seeds)."""

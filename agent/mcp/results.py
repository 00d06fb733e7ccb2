"""What the tools give back: small records, from which the protocol's output schemas are made."""

from __future__ import annotations

from dataclasses import dataclass

from kernelwright.agent.exchange.seat import Best, brief, rounded
from kernelwright.agent.prompt import feedback
from kernelwright.memory.records import Recalled, RunRecord
from kernelwright.tasks.errors import TaskError
from kernelwright.tasks.load import load_task
from kernelwright.tasks.records import Interval, Task, Timing, Use, Verdict


@dataclass(frozen=True)
class TaskLine:
    """A task of the library."""

    task: str
    family: str
    scenario: str
    dtypes: list[str]
    summary: str

    @classmethod
    def of(cls, task: Task) -> TaskLine:
        dtypes = sorted({dtype for case in task.cases if case.use is not Use.HELD_OUT for dtype in case.dtypes})
        return cls(task.name, task.family, task.scenario, dtypes, task.summary)


@dataclass(frozen=True)
class VerdictView:
    """A verdict in short. A speedup is a median with its 95 % interval, named by what it is against."""

    status: str
    stage: str
    reason: str
    kernel_id: str
    assurance: str
    latency_us: Interval | None
    speedup: dict[str, Interval]
    best_baseline: str
    roofline_fraction: float | None
    envelope: str
    evidence: str
    seconds: float

    @classmethod
    def of(cls, verdict: Verdict, task: Task) -> VerdictView:
        timing = verdict.timing
        measured = {"latency_us": rounded(timing.latency_us) if timing else None, "speedup": _speedups(timing)}
        return cls(**{**brief(verdict, task), **measured})


@dataclass(frozen=True)
class BestView:
    """The best attempt so far."""

    idea: str
    run: str
    task: str
    model: str
    backend: str
    device: str
    audited: bool
    kernel_id: str
    latency_us: float | None
    speedup: dict[str, Interval]
    source: str
    """Empty unless it was asked for."""

    @classmethod
    def of(cls, best: Best, *, source: bool = False) -> BestView:
        timing = best.verdict.timing
        return cls(
            best.idea,
            best.run,
            best.task,
            best.model,
            best.backend,
            best.device,
            best.audited,
            best.verdict.kernel_id,
            rounded(timing.latency_us).median if timing else None,
            _speedups(timing),
            best.source if source else "",
        )


@dataclass(frozen=True)
class PromptView:
    """The next prompt of a run, or why there is none."""

    state: str
    """``prompt``: answer it; ``working``: ask again; ``finished``: no attempt is left."""
    message: str
    run: str
    task: str
    backend: str
    budget: int
    finished_attempts: int
    idea: str
    prompt: str
    waiting: list[str]
    """All ideas of the run that wait for an answer."""
    best: BestView | None


@dataclass(frozen=True)
class AttemptView:
    """What came of an answer, and what is next."""

    idea: str
    state: str
    """``judged``, ``unreadable``, ``answered`` (the verdict is to come) or ``waiting`` (for an answer)."""
    message: str
    verdict: VerdictView | None
    problem: str
    """Why no kernel could be read from the answer."""
    prompt: str
    """Empty unless it was asked for."""
    best: BestView | None
    next_idea: str
    """Empty when no prompt of the run waits."""
    run: str
    run_status: str
    finished_attempts: int
    budget: int


@dataclass(frozen=True)
class CheckView:
    """The verdict on a kernel that belongs to no run."""

    state: str
    """``judged``, or ``working``: call again with the same arguments."""
    verdict: VerdictView | None


@dataclass(frozen=True)
class MemoryItem:
    """One thing that memory knows, and how near it is to what was looked for (cosine)."""

    id: str
    kind: str
    similarity: float
    value: float
    backend: str
    family: str
    task: str
    status: str
    speedup: float | None
    text: str
    code: str
    """Empty unless it was asked for."""

    @classmethod
    def of(cls, found: Recalled, *, code: bool = False) -> MemoryItem:
        item = found.experience
        text = _unseen(item.lesson or item.text, item.task)
        shown = item.code if code else ""
        where = (item.backend, item.family, item.task, item.status, item.speedup)
        return cls(item.id, item.kind, found.similarity, found.q, *where, text, shown)


@dataclass(frozen=True)
class RunLine:
    """A run of the workspace."""

    run: str
    status: str
    created: str
    model: str
    backend: str
    budget: int
    tasks: list[str]

    @classmethod
    def of(cls, run: RunRecord) -> RunLine:
        config = run.config
        tasks = run.names
        words = [str(config.get(name) or "") for name in ("model", "backend")]
        return cls(run.id, run.status, run.created, words[0], words[1], int(config.get("budget") or 0), tasks)


def _speedups(timing: Timing | None) -> dict[str, Interval]:
    return {name: rounded(value) for name, value in timing.speedup.items()} if timing else {}


def _unseen(text: str, task: str) -> str:
    """``text`` without the held-out sizes of the task that it is about, where that is one of the library."""
    if not task.startswith("core/"):
        return text
    try:
        return feedback.scrub(text, load_task(task))
    except TaskError:
        return text

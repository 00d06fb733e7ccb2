"""A bench at work: one run of the loop a sample, each started or resumed until all have ended."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from math import fsum
from pathlib import Path
from typing import TYPE_CHECKING

from kernelwright.agent import run as runs
from kernelwright.agent.bench.plan import Part, Plan, shared
from kernelwright.agent.bench.results import SOLVED, Record, Results
from kernelwright.agent.bench.upstream import Beside
from kernelwright.agent.llm.options import Limits
from kernelwright.agent.parts import Engines, check_names
from kernelwright.agent.watch import Watch
from kernelwright.agent.workspace import Workspace
from kernelwright.memory.records import TaskOutcome
from kernelwright.memory.spending import total
from kernelwright.tasks.errors import KernelwrightError, UnknownName
from kernelwright.tasks.records import Attempt, Idea, Task

if TYPE_CHECKING:
    from kernelwright.agent.llm.ledger import Ledger


@dataclass(frozen=True)
class Standing:
    """A bench as it stands."""

    plan: Plan
    records: tuple[Record, ...]
    wanted: int
    """Records of the finished bench."""
    path: Path
    """The results' file."""
    unjudged: int = 0
    """Tasks and samples that upstream's rule has still to be asked about."""

    @property
    def finished(self) -> bool:
        return len(self.records) == self.wanted and not self.unjudged

    @property
    def solved(self) -> bool:
        """Whether every task was solved, in one sample at least."""
        names = {task.name for task in self.plan.tasks} if not self.plan.author else {s.task for s in self.plan.submissions}
        names |= set() if self.plan.author else set(self.plan.left_out)
        return names <= {record["task"] for record in self.records if record["status"] in SOLVED}


def check(plan: Plan) -> None:
    """Refuse a bench that could not work before anything is written.

    Raises:
        InputError: a name or key that nothing answers to.
    """
    for part in plan.parts():
        check_names(plan.configured(part, plan.config.limits))


def _unheard(part: Part) -> None:
    """Nobody wants to know."""


def work(
    plan: Plan,
    workspace: Workspace,
    watch: Watch,
    engines: Engines | None = None,
    begins: Callable[[Part], None] = _unheard,
    asks: Callable[[Part], None] = _unheard,
) -> Standing:
    """Begin a bench or go on with it, sample after sample, until all have ended, one waits, or ``watch`` stops it.

    ``begins`` hears of every run that is started or resumed, ``asks`` of every one whose kernels upstream judges next.
    Killed at any moment it loses what a run of the loop loses then: the step in flight.

    Raises:
        InputError: another process is at work on it, or what ``agent.run.start`` raises; HarnessError: likewise.
    """
    results, beside = Results(plan, workspace), Beside(plan, workspace)
    with workspace.hold(plan.id):
        results.write()
        try:
            for n, part in enumerate(plan.parts()):
                if not _finished(plan, n, workspace, _Looking(watch, results), engines, begins):
                    break
                if beside.missing(part):
                    asks(part)
                if not beside.work(part, watch.stopping):
                    break
        except KernelwrightError as error:
            kept = f"the bench goes on with: kernelwright resume {plan.id}"
            error.remedy = f"{error.remedy}; {kept}" if error.remedy else kept
            raise
        finally:
            results.write()
    unjudged = sum(len(beside.missing(part)) for part in plan.parts())
    return Standing(plan, results.records(), results.wanted(), results.path, unjudged)


def _finished(
    plan: Plan, n: int, workspace: Workspace, looking: _Looking, engines: Engines | None, begins: Callable[[Part], None]
) -> bool:
    """Start the n-th run or go on with it, unless it has finished; whether it has then."""
    part = plan.parts()[n]
    status, limits = _looked_up(plan, n, workspace)
    if status == "finished":
        return True
    if looking.stopping():
        return False
    begins(part)
    if status is None:
        result = runs.start(plan.configured(part, limits), part.tasks, workspace, looking, engines)
    else:
        result = runs.resume(part.run, workspace, looking, engines)
    return result.run.status == "finished"


def _looked_up(plan: Plan, n: int, workspace: Workspace) -> tuple[str | None, Limits]:
    """The status of the n-th run, None where it was never begun, and what it may spend after those before it."""
    parts = plan.parts()
    store = workspace.open_store()
    try:
        before = [part.run for part in parts[:n]]
        spent = total(store.spent(run) for run in before)
        limits = shared(plan.config.limits, spent, fsum(store.seconds(run) for run in before), len(parts) - n)
        try:
            return store.run(parts[n].run).status, limits
        except UnknownName:
            return None, limits
    finally:
        store.close()


class _Looking:
    """Looks on for somebody else, and writes the results anew whenever a task has ended."""

    def __init__(self, inner: Watch, results: Results) -> None:
        self._inner = inner
        self._results = results

    def stopping(self) -> bool:
        return self._inner.stopping()

    def spending(self, ledger: Ledger) -> None:
        self._inner.spending(ledger)

    def task(self, task: Task, budget: int) -> None:
        self._inner.task(task, budget)

    def doing(self, idea: Idea | None, what: str) -> None:
        self._inner.doing(idea, what)

    def done(self, attempt: Attempt) -> None:
        self._inner.done(attempt)

    def outcome(self, outcome: TaskOutcome) -> None:
        self._inner.outcome(outcome)
        with suppress(KernelwrightError):  # a full disk costs the file, not the run; it is written again at the end
            self._results.write()

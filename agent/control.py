"""Telling a run that is at work what to do: to pause, to go on, to stop, to make more attempts, to spend more.

Pause and stop are a file beside the run's lock, which the process that holds the lock looks at; they end with that process. A
budget is the run's own: it is changed in the store and lasts.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from kernelwright.agent.files import write_text
from kernelwright.agent.watch import Watch
from kernelwright.agent.workspace import Workspace
from kernelwright.memory.records import TaskOutcome
from kernelwright.tasks.errors import InputError
from kernelwright.tasks.records import Attempt, Idea, Task

if TYPE_CHECKING:
    from kernelwright.agent.llm.ledger import Ledger

PAUSE, STOP, GO = "pause", "stop", "go"
OPTIONS = {"usd": "--max-usd", "tokens": "--max-tokens", "seconds": "--max-seconds", "task_usd": "--task-usd"}
"""Limit of a run -> the option that sets it."""
WISHES = (PAUSE, STOP, GO)
_EVERY = 0.1
"""Seconds between two looks at the file."""


def ask(run: str, wish: str, workspace: Workspace) -> None:
    """Ask the process at work on a run to pause, to go on (``go``) or to stop; it does so before its next idea.

    Raises:
        InputError: no such wish, or nobody is at work on the run. A stop cannot be taken back.
    """
    if wish not in WISHES:
        raise InputError(f"a run cannot be asked to {wish!r}", f"ask it one of {', '.join(WISHES)}")
    if not workspace.held(run):
        raise InputError(f"no process of this workspace is at work on run {run}", f"start one: kernelwright resume {run}")
    if wished(run, workspace) == STOP and wish != STOP:
        raise InputError(f"run {run} is stopping", f"go on afterwards with: kernelwright resume {run}")
    write_text(_path(run, workspace), wish)


def wished(run: str, workspace: Workspace) -> str:
    """What the process at work on a run was asked last: ``pause``, ``stop``, or ``go`` where nothing was asked."""
    try:
        said = _path(run, workspace).read_text(encoding="utf-8").strip()
    except OSError:
        return GO
    return said if said in WISHES else GO


def raise_budget(run: str, budget: int, workspace: Workspace) -> int:
    """Let a run make up to ``budget`` attempts on each task that has no outcome yet; returns what it was allowed before.

    A process at work notices when a task has used up what it knew of.

    Raises:
        UnknownName: no such run; InputError: it is finished, or ``budget`` is not above what it has.
    """
    store = workspace.open_store()
    try:
        row = store.run(run)
        before = int(row.config.get("budget") or 0)
        if row.status == "finished":
            raise InputError(f"run {run} is finished", "start another one with --warm-start")
        if budget <= before:
            raise InputError(f"--budget is {budget}, and run {run} has {before} already", "give more: a budget is only raised")
        store.set_budget(run, budget)
        return before
    finally:
        store.close()


def raise_limits(run: str, limits: Mapping[str, float | None], workspace: Workspace) -> None:
    """Let a run spend up to so much: ``usd``, ``tokens``, ``seconds``, ``task_usd``; None leaves a limit as it is.

    A process at work notices before it ends a task for want of them. Tasks that have their outcome are not opened again.

    Raises:
        UnknownName: no such run; InputError: it is finished, it has no such limit, or one is not above what it has. Then none
            is changed.
    """
    wanted = {name: value for name, value in limits.items() if value is not None}
    store = workspace.open_store()
    try:
        row = store.run(run)
        if row.status == "finished":
            raise InputError(f"run {run} is finished", "start another one with --warm-start")
        held = dict(row.config.get("limits") or {})
        for name, value in wanted.items():
            before, option = held.get(name), OPTIONS[name]
            if before is None:
                raise InputError(f"{option} is {value:g}, and run {run} has no such limit", "leave it out: it is not limited")
            if not before < value < inf:
                raise InputError(f"{option} is {value:g}, and run {run} has {before:g} already", "give more: it is only raised")
        store.set_limits(run, wanted)
    finally:
        store.close()


class Controlled:
    """Looks on as ``watch`` does, and heeds what the run was asked meanwhile."""

    def __init__(self, watch: Watch, run: str, workspace: Workspace) -> None:
        self._watch, self._run, self._workspace = watch, run, workspace
        self._looked, self._wish = 0.0, GO

    def stopping(self) -> bool:
        return self._watch.stopping() or self._now() == STOP

    def paused(self) -> bool:
        """True when nothing new is to be started and the run is to wait, until it is told to go on or to stop."""
        return not self._watch.stopping() and self._now() == PAUSE

    def spending(self, ledger: Ledger) -> None:
        self._watch.spending(ledger)

    def task(self, task: Task, budget: int) -> None:
        self._watch.task(task, budget)

    def doing(self, idea: Idea | None, what: str) -> None:
        self._watch.doing(idea, what)

    def done(self, attempt: Attempt) -> None:
        self._watch.done(attempt)

    def outcome(self, outcome: TaskOutcome) -> None:
        self._watch.outcome(outcome)

    def _now(self) -> str:
        if time.monotonic() - self._looked >= _EVERY:
            self._looked, self._wish = time.monotonic(), wished(self._run, self._workspace)
        return self._wish


@contextmanager
def controlled(watch: Watch, run: str, workspace: Workspace) -> Iterator[Controlled]:
    """``watch`` under control. For who holds the run: what an earlier process was asked is forgotten."""
    path = _path(run, workspace)
    path.unlink(missing_ok=True)
    try:
        yield Controlled(watch, run, workspace)
    finally:
        path.unlink(missing_ok=True)


def _path(run: str, workspace: Workspace) -> Path:
    return workspace.run(run) / "wish"

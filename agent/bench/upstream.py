"""The suite's own judgement beside ours: what upstream would say of the kernels of a bench.

Of each task and sample one kernel is judged so: the winner; where there is none, the newest attempt that upstream's rule takes,
so that what passes there and not here is seen. What comes of it is kept in a file each: a killed bench goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from kernelwright.agent.bench.plan import Part, Plan
from kernelwright.agent.files import write_text
from kernelwright.agent.workspace import Workspace
from kernelwright.memory.records import TaskOutcome
from kernelwright.tasks.errors import InputError, TaskError
from kernelwright.tasks.records import Attempt, Kernel, Task
from kernelwright.tasks.suites.suite import open_suite
from kernelwright.tasks.suites.upstream import Rule

if TYPE_CHECKING:
    from kernelwright.evaluator.judge import Judge
    from kernelwright.evaluator.upstream import Upstream

_SOLVED = ("improved", "solved")
_NO_KERNEL = "there is no kernel"

Candidates = list[tuple[Kernel, str]]
"""Kernels and what our judge said of each, in the order in which they are tried."""


def rules(suite: str, path: Path | None, tasks: tuple[Task, ...]) -> tuple[dict[str, Rule], dict[str, str]]:
    """(task -> the suite's rule, task -> why there is none) for tasks of the clone at ``path``.

    Raises:
        InputError: the suite states no rule for any of its tasks.
    """
    adapter = open_suite(suite) if path is not None else None
    state = cast("Callable[[Task, Path], Rule] | None", getattr(adapter, "upstream", None))
    if state is None or path is None:
        raise InputError(f"the suite {suite} states no rule of its own that can be computed", "leave out --judge upstream")
    found: dict[str, Rule] = {}
    without: dict[str, str] = {}
    for task in tasks:
        try:
            found[task.name] = state(task, path)
        except TaskError as error:
            without[task.name] = error.message
        except OSError as error:
            without[task.name] = f"cannot be read: {error.strerror or error}"
    return found, without


class Beside:
    """The judgements by the suites' rule of one bench, made and read."""

    def __init__(self, plan: Plan, workspace: Workspace) -> None:
        self._plan = plan
        self._workspace = workspace
        self._folder = workspace.run(plan.id) / "upstream"
        self._known: dict[Path, Mapping[str, Any]] = {}

    def of(self, part: Part, name: str) -> Mapping[str, Any] | None:
        """What upstream says of a task and sample; None where it was not asked yet, or has no rule for it."""
        path = self._path(part, name)
        if path not in self._known and path.is_file():
            self._known[path] = json.loads(path.read_text(encoding="utf-8"))
        return self._known.get(path)

    def missing(self, part: Part) -> list[Task]:
        """Tasks of a run that are still to be judged so."""
        return [task for task in part.tasks if task.name in self._plan.rules and self.of(part, task.name) is None]

    def work(self, part: Part, stopping: Callable[[], bool]) -> bool:
        """Judge what a finished run left; False where ``stopping`` ended it before that was done.

        Raises:
            HarnessError: the harness failed.
        """
        with ExitStack() as stack:
            judge: Judge | None = None
            for task in self.missing(part):
                if stopping():
                    return False
                candidates = self._candidates(part, task)
                if candidates and judge is None:
                    judge = stack.enter_context(self._judge(part))
                found = self._judged(judge, task, candidates) if judge else {}
                record = {"correct": False, "speedup": None, "detail": _NO_KERNEL, **found}
                write_text(self._path(part, task.name), json.dumps(record) + "\n")
        return True

    def _judge(self, part: Part) -> Judge:
        from kernelwright.evaluator.judge import Judge
        from kernelwright.evaluator.settings import Settings

        config = self._plan.config
        return Judge(part.backend, config.device, self._workspace.cache, Settings(sandbox=config.sandbox))

    def _judged(self, judge: Judge, task: Task, candidates: Candidates) -> Mapping[str, Any]:
        """The first kernel that upstream takes, else the first of all."""
        from kernelwright.evaluator.upstream import TIMING_SECONDS, judge_by

        rule, seconds = self._plan.rules[task.name], self._plan.config.timing_seconds or TIMING_SECONDS
        first: Mapping[str, Any] = {}
        for kernel, ours in candidates:
            found = _record(judge_by(rule, judge, kernel, task, seconds), kernel, ours)
            first = first or found
            if found["correct"]:
                return found
        return first

    def _candidates(self, part: Part, task: Task) -> Candidates:
        store = self._workspace.open_store()
        try:
            outcome = store.outcomes(part.run).get(task.name)
            found = list(_kernels(outcome, store.attempts(part.run, task.name)))
        finally:
            store.close()
        if found:
            return found
        # Of a task that our judge refuses no attempt is made: upstream takes it all the same.
        given = (s for s in self._plan.submissions if (s.task, s.sample) == (task.name, part.sample))
        return [(Kernel(s.source, s.backend), outcome.status if outcome else "") for s in given]

    def _path(self, part: Part, name: str) -> Path:
        slug = next((task.slug for task in part.tasks if task.name == name), name.replace("/", "-"))
        return self._folder / f"{slug}-s{part.sample}.json"


def _kernels(outcome: TaskOutcome | None, attempts: tuple[Attempt, ...]) -> Iterator[tuple[Kernel, str]]:
    """The winner alone, or without one every kernel, newest first, none twice."""
    if outcome is not None and outcome.status in _SOLVED:
        attempts = tuple(attempt for attempt in attempts if attempt.id == outcome.best)
    seen: set[str] = set()
    for attempt in reversed(attempts):
        kernel = attempt.answer.kernel
        if kernel is not None and kernel.kernel_id not in seen:
            seen.add(kernel.kernel_id)
            yield kernel, attempt.status


def _record(found: Upstream, kernel: Kernel, ours: str) -> Mapping[str, Any]:
    figures = {"correct": found.correct, "speedup": found.speedup, "detail": found.detail, "trials": found.trials}
    return {**figures, "kernel_id": kernel.kernel_id, "ours": ours}

"""Runs: start one, resume one, bring each task to its outcome, and leave winners, recording and report behind."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import cached_property
from itertools import groupby

from kernelwright.agent import recording
from kernelwright.agent.control import controlled
from kernelwright.agent.ensemble.diversity import Diversity, diversity
from kernelwright.agent.files import write_text
from kernelwright.agent.loop import Parts, search
from kernelwright.agent.outcome import conclude, refused, so_far, unaffordable
from kernelwright.agent.parts import Engines, check_names, make_policy, opened
from kernelwright.agent.rejudge import Rejudged, compare
from kernelwright.agent.report import write_report
from kernelwright.agent.settings import RunConfig
from kernelwright.agent.telemetry import traced
from kernelwright.agent.warm import warm
from kernelwright.agent.watch import Heeding, Watch
from kernelwright.agent.workspace import Workspace
from kernelwright.memory.memory import Memory
from kernelwright.memory.records import Line, RunRecord, Step, TaskOutcome
from kernelwright.memory.store import Store
from kernelwright.tasks.codec import to_json
from kernelwright.tasks.errors import KernelwrightError, TaskError
from kernelwright.tasks.records import Attempt, Task

FINAL = ("improved", "solved", "unsolved", "refused")


@dataclass(frozen=True)
class Result:
    """A run as it stands, with an outcome for every task that was begun."""

    run: RunRecord
    outcomes: tuple[TaskOutcome, ...]
    steps: tuple[Step, ...]
    ledger: tuple[Line, ...] = ()
    """What it spent, by task, model and role."""
    rejudged: Rejudged | None = None
    """Of a replay that was judged again: whether the statuses agree."""

    @cached_property
    def config(self) -> RunConfig:
        """What the run was asked for."""
        return RunConfig.of(self.run.config)

    @cached_property
    def diversity(self) -> Diversity | None:
        """How different the readable answers are; None where no model wrote any."""
        return diversity((step.idea.task, step.answer) for step in self.steps if step.answer is not None)


def start(
    config: RunConfig, tasks: Sequence[Task], workspace: Workspace, watch: Watch, engines: Engines | None = None
) -> Result:
    """Start a run; its row is committed before anything else happens. ``engines``: where its engine comes from, if not its own.

    Raises:
        InputError: a name or key that is not there; what was measured stays, and the run can be resumed.
        HarnessError: the harness failed; likewise.
    """
    check_names(config, several=all(task.target for task in tasks))
    created = datetime.now(timezone.utc)
    run_id = config.run or f"{created:%y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    run = RunRecord(run_id, to_json(config), "running", created.isoformat(timespec="microseconds"), tuple(tasks))
    memory = workspace.open_memory(config.memory_exclude)
    try:
        memory.hold()  # before anything is spent: two processes that learn would each read what the other has made stale
        memory.store.create_run(run)
        with workspace.hold(run.id), controlled(watch, run.id, workspace) as heeding, traced(heeding, run) as told:
            return _drive(run, workspace, memory, told, engines)
    finally:
        memory.close()


def resume(run_id: str, workspace: Workspace, watch: Watch, engines: Engines | None = None) -> Result:
    """Go on with a run where its last commit left it; a finished run is only shown.

    Raises:
        UnknownName: no such run; InputError: another process is at work on it.
    """
    store = workspace.open_store()
    try:
        run = store.run(run_id)
        if run.status == "finished":
            return _result(run, workspace, store)
    finally:
        store.close()
    memory = workspace.open_memory(RunConfig.of(run.config).memory_exclude)
    try:
        with workspace.hold(run.id):
            memory.hold()
            with controlled(watch, run.id, workspace) as heeding, traced(heeding, run) as told:
                return _drive(memory.store.run(run.id), workspace, memory, told, engines)
    finally:
        memory.close()


def report(run_id: str, workspace: Workspace) -> Result:
    """Write the report of a run again, from the store."""
    store = workspace.open_store()
    try:
        result = _result(store.run(run_id), workspace, store)
        _write_report(result, workspace)
        return result
    finally:
        store.close()


def _drive(run: RunRecord, workspace: Workspace, memory: Memory, watch: Heeding, engines: Engines | None) -> Result:
    config, store = RunConfig.of(run.config), memory.store
    if engines is not None:  # who lends an engine has other work for it, and does not stay until somebody answers
        config = replace(config, wait=False)
    store.set_run_status(run.id, "running")
    try:
        for name, why in config.refused.items():
            store.set_outcome(run.id, name, refused(name, why))
        _work(run, config, workspace, memory, watch, engines)
    except (KernelwrightError, KeyboardInterrupt) as error:
        with suppress(KernelwrightError):
            store.set_run_status(run.id, "interrupted")
        if isinstance(error, KernelwrightError):
            kept = f"what was measured is kept: kernelwright resume {run.id}"
            error.remedy = f"{error.remedy}; {kept}" if error.remedy else kept
        raise
    outcomes = store.outcomes(run.id)
    finished = all(task.name in outcomes and outcomes[task.name].status in FINAL for task in run.tasks)
    status = "finished" if finished else "interrupted" if watch.stopping() else "waiting"
    result = _result(replace(store.run(run.id), status=status), workspace, store)  # its budget may have been raised
    recording.save(recording.record(run.id, workspace), workspace.run(run.id) / "recording.json")
    _write_report(result, workspace)
    store.set_run_status(run.id, status)
    return result


def _work(
    run: RunRecord, config: RunConfig, workspace: Workspace, memory: Memory, watch: Heeding, engines: Engines | None
) -> None:
    """Every task that has no final outcome yet, one after the other; of several targets one after the other, too."""
    for target, tasks in groupby(run.tasks, key=lambda task: task.target):
        _work_on(tuple(tasks), run, config.on(target), workspace, memory, watch, engines)


def _work_on(
    tasks: Sequence[Task],
    run: RunRecord,
    config: RunConfig,
    workspace: Workspace,
    memory: Memory,
    watch: Heeding,
    engines: Engines | None,
) -> None:
    """The tasks of one target, with an engine of its own."""
    store = memory.store
    done = [name for name, outcome in store.outcomes(run.id).items() if outcome.status in FINAL]
    if all(task.name in done for task in tasks) or watch.stopping():
        return
    with opened(run.id, config, workspace, memory, engines, watch.stopping) as parts:
        if parts.ledger is not None:
            watch.spending(parts.ledger)
        recording.note_device(run.id, workspace, parts.engine.device(), tasks[0].target)
        for step in store.steps(run.id):  # those of finished tasks too: a writer learns from all of them
            if step.learned and step.attempt is not None:
                parts.writer.told(step.attempt)
        for task in tasks:
            known = store.outcomes(run.id).get(task.name)
            if watch.stopping() or (known is not None and known.status in FINAL):
                continue
            config = _raised(config, run.id, store)
            watch.task(task, config.budget)
            why = parts.over(task)
            if why and not store.steps(run.id, task.name):
                outcome: TaskOutcome | None = unaffordable(task.name, why)
            else:
                outcome = _bring_to_outcome(run, config, task, parts, workspace, watch)
            if outcome is not None:
                store.set_outcome(run.id, task.name, _priced(outcome, run.id, store))
            attempts = store.attempts(run.id, task.name)
            why = f"interrupted after {len(attempts)} of {_raised(config, run.id, store).budget} attempts"
            watch.outcome(outcome or so_far(task, attempts, why))


def _priced(outcome: TaskOutcome, run: str, store: Store) -> TaskOutcome:
    """The outcome with what its task cost by the ledger: calls that led to no answer were paid for, too."""
    return replace(outcome, cost_usd=store.spent(run, outcome.task).cost_usd)


def _bring_to_outcome(
    run: RunRecord, config: RunConfig, task: Task, parts: Parts, workspace: Workspace, watch: Heeding
) -> TaskOutcome | None:
    """Search one task and say how it ended; None when it was stopped. A refused task costs nobody else anything."""
    steps = parts.store.steps(run.id, task.name)
    try:
        watch.doing(None, "admitting")
        parts.engine.admit(task)
        if warm(config, run.id, task, parts):
            steps = parts.store.steps(run.id, task.name)
        policy = make_policy(config, run.id, task, steps, parts.memory.values(), workspace)
    except TaskError as error:
        return refused(task.name, str(error))
    for step in steps:
        if step.learned and step.attempt is not None:
            watch.done(step.attempt)
    while True:
        waiting = search(task, policy, [s for s in steps if not s.learned], parts, watch, watch.paused)
        more = _raised(config, run.id, parts.store)
        if more == config or watch.stopping():
            break
        config, steps = more, parts.store.steps(run.id, task.name)
        watch.task(task, config.budget)
        policy = make_policy(config, run.id, task, steps, parts.memory.values(), workspace)
    attempts = parts.store.attempts(run.id, task.name)
    if watch.stopping():
        return None
    if waiting:
        return so_far(task, attempts, f"{len(waiting)} attempts wait for {_awaited(waiting)}", waiting=True)
    watch.doing(None, "auditing")
    why = parts.over(task) if len(attempts) < config.budget else ""
    ended = why and f"{why} ({len(attempts)} of {config.budget} attempts)"
    outcome = conclude(task, attempts, parts.engine, workspace.run(run.id) / "audit", watch.stopping, ended)
    if outcome is not None:
        _write_winner(run.id, task, attempts, outcome, workspace)
    return outcome


def _raised(config: RunConfig, run: str, store: Store) -> RunConfig:
    """``config`` with the budget that the run has by now: somebody may have raised it while it works."""
    return replace(config, budget=max(config.budget, int(store.config(run).get("budget") or 0)))


def _awaited(waiting: Sequence[Step]) -> str:
    answers, verdicts = (any(s.answer is None for s in waiting), any(s.answer is not None for s in waiting))
    return " and ".join([*(["answers"] if answers else []), *(["verdicts"] if verdicts else [])])


def _result(run: RunRecord, workspace: Workspace, store: Store) -> Result:
    """Every task's outcome in the order it was asked for; an unfinished task stands as its attempts say."""
    outcomes, config = store.outcomes(run.id), RunConfig.of(run.config)
    for task in run.tasks:
        if task.name not in outcomes:
            attempts = store.attempts(run.id, task.name)
            stood = so_far(task, attempts, f"{run.status} after {len(attempts)} attempts")
            outcomes = {**outcomes, task.name: _priced(stood, run.id, store)}
    steps, rejudged = store.steps(run.id), None
    if config.rejudge:
        recorded = recording.load(config.model.removeprefix("replay:"), workspace)
        rejudged = compare(recorded, run.tasks, steps)
    in_order = tuple(outcomes[name] for name in run.names if name in outcomes)
    return Result(run, in_order, steps, store.ledger(run.id), rejudged)


def _write_winner(run: str, task: Task, attempts: Sequence[Attempt], outcome: TaskOutcome, workspace: Workspace) -> None:
    """The winning kernel, its verdict, and where it came from."""
    winner = next((a for a in attempts if a.id == outcome.best), None)
    if winner is None or winner.answer.kernel is None or outcome.verdict is None:
        return
    folder = workspace.best(run, task)
    write_text(folder / "kernel.py", winner.answer.kernel.source)
    write_text(folder / "verdict.json", json.dumps(to_json(outcome.verdict), indent=1) + "\n")
    evidence = {
        "run": run,
        "task": task.name,
        "attempt": to_json(winner.idea),
        "backend": winner.answer.kernel.backend,
        "model": winner.answer.model,
        "strategy": winner.answer.strategy,
        "own_verdict": to_json(winner.verdict),
        "audits": sorted(p.name for p in (workspace.run(run) / "audit").glob(f"{winner.id}-audit*.json")),
    }
    write_text(folder / "evidence.json", json.dumps(evidence, indent=1) + "\n")


def _write_report(result: Result, workspace: Workspace) -> None:
    outcomes = {outcome.task: outcome for outcome in result.outcomes}
    devices = recording.distinct(recording.devices_of(result.run.id, workspace).values())
    path = workspace.run(result.run.id) / "report.html"
    write_report(result.run, result.steps, outcomes, path, devices, result.ledger, result.diversity)

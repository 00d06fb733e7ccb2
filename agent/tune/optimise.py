"""Kernels for carved tasks, by the ordinary loop; what is tried next is what may save most for its cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from kernelwright.agent.files import write_text
from kernelwright.agent.run import start
from kernelwright.agent.settings import RunConfig
from kernelwright.agent.tune.rank import Candidate
from kernelwright.agent.tune.verify import distance
from kernelwright.agent.watch import Watch
from kernelwright.agent.workspace import Workspace
from kernelwright.memory.records import TaskOutcome
from kernelwright.tasks.carve import emit
from kernelwright.tasks.errors import InputError
from kernelwright.tasks.records import Task

_ERROR = {"float32": 1e-4, "float64": 1e-10, "float16": 1e-2, "bfloat16": 3e-2}
"""Relative L2 distance to the original in float64 that a kernel may have on captured inputs, where the original has less."""
_TURNS = 3
"""Runs that one task may have: a later one starts from what the earlier ones found."""


Loop = Callable[[RunConfig, Sequence[Task], Workspace, Watch], Any]
"""Runs the loop on tasks and leaves winners in the workspace, as :func:`~kernelwright.agent.run.start` does."""


@dataclass
class Won:
    """A kernel that passed for a group."""

    candidate: Candidate
    source: str
    backend: str
    run: str
    outcome: TaskOutcome
    captured_error: float
    """Relative L2 distance to the float64 original on the captured inputs."""


@dataclass
class Search:
    """What the budget was spent on."""

    won: dict[str, Won] = field(default_factory=dict)
    runs: list[str] = field(default_factory=list)
    tasks: list[dict[str, Any]] = field(default_factory=list)


def odds(candidates: Sequence[Candidate], workspace: Workspace) -> None:
    """Set each candidate's odds from what became of earlier tasks of its family in this workspace."""
    store = workspace.open_store()
    try:
        seen: dict[str, list[bool]] = {}
        for run in store.runs():
            outcomes = store.outcomes(run.id)
            for task in run.tasks:
                if task.name in outcomes and outcomes[task.name].status != "refused":
                    faster = outcomes[task.name].verdict
                    seen.setdefault(task.family, []).append(bool(faster and (faster.speedup or 0) > 1))
    finally:
        store.close()
    for candidate in candidates:
        known = seen.get(emit.family(candidate.group), [])
        candidate.odds = (sum(known) + 1) / (len(known) + 2)


def optimise(
    candidates: Sequence[Candidate],
    config: RunConfig,
    workspace: Workspace,
    watch: Watch,
    total: int,
    threshold_ms: float,
    loop: Loop = start,
) -> Search:
    """Spend up to ``total`` attempts over ``candidates``, ``config.budget`` at a time, re-ranked after every run.

    Stops when no group is expected to save ``threshold_ms`` a pass any more.
    """
    search, turns, cost, left = Search(), dict[str, int](), dict[str, float](), total
    mean = 1.0
    tasks = {c.group.key: emit.task(c.group, c.captured) for c in candidates}
    while left > 0 and not watch.stopping():
        open_ = [c for c in candidates if turns.get(c.group.key, 0) < _TURNS and c.expected_ms > threshold_ms]
        if not open_:
            break
        mean = sum(cost.values()) / len(cost) if cost else 1.0
        chosen = max(open_, key=lambda c: c.expected_ms / cost.get(c.group.key, mean))
        key = chosen.group.key
        budget = min(config.budget, left)
        again = turns.get(key, 0) > 0
        began = time.monotonic()
        how = replace(config, budget=budget, warm_start=again, seed=config.seed * _TURNS + turns.get(key, 0))
        found = _turn(chosen, tasks[key], how, workspace, watch, loop)
        cost[key] = max((time.monotonic() - began) / budget, 1e-3)
        left -= budget
        turns[key] = turns.get(key, 0) + 1
        _note(search, chosen, tasks[key], found)
    return search


def _turn(
    candidate: Candidate, task: Task, config: RunConfig, workspace: Workspace, watch: Watch, loop: Loop
) -> tuple[str, TaskOutcome, str | None, float]:
    """One run of the loop on one task: run, outcome, the winner's source, its error on the captured inputs."""
    write_text(workspace.home / "tuned" / f"{task.slug}.py", task.source)
    result = loop(replace(config, order=(task.name,)), (task,), workspace, watch)
    (outcome,) = result.outcomes
    path = workspace.best(result.run.id, task) / "kernel.py"
    if outcome.best is None or outcome.verdict is None or not path.is_file():
        return result.run.id, outcome, None, 0.0
    source = path.read_text(encoding="utf-8")
    return result.run.id, outcome, source, on_captured(candidate, load_kernel(path))


def _note(search: Search, candidate: Candidate, task: Task, found: tuple[str, TaskOutcome, str | None, float]) -> None:
    run, outcome, source, error = found
    search.runs.append(run)
    candidate.odds *= 0.5  # whatever came of it: a further turn is less likely to gain as much
    reason, key = outcome.reason, candidate.group.key
    if source is not None and outcome.verdict is not None and outcome.verdict.timing is not None:
        limit = _ERROR.get(candidate.group.outputs[0].dtype, 0.0)
        latency = outcome.verdict.timing.latency_us.median
        if error > limit:
            reason = f"wrong on the captured inputs: relative error {error:.2g}, at most {limit:.2g} is allowed"
        elif (outcome.verdict.speedup or 0) <= 1:
            reason = "no faster than the original operators"
        elif candidate.best_us is None or latency < candidate.best_us:
            candidate.best_us = latency
            search.won[key] = Won(candidate, source, outcome.verdict.environment.get("backend", ""), run, outcome, error)
    row = {"task": task.name, "status": outcome.status, "attempts": outcome.attempts, "run": run, "reason": reason}
    search.tasks.append({**row, "best": outcome.best, "cost_usd": outcome.cost_usd})


def load_kernel(path: Path) -> Any:
    """An instance of the file's ``ModelNew``, as a callable on tensors."""
    import importlib.util

    spec = importlib.util.spec_from_file_location(f"kernelwright_winner_{abs(hash(str(path))):x}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is no Python file", "give a kernel's file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ModelNew()


def on_captured(candidate: Candidate, kernel: Any) -> float:
    """The kernel's relative error on the captured inputs, by the original operators in float64; infinite where it fails."""
    with torch.no_grad():
        try:
            mine = torch.utils._pytree.tree_leaves(kernel(*(t.clone() for t in candidate.captured)))
        except Exception:  # noqa: BLE001  a kernel may fail in any way, and one that does is not put in
            return float("inf")
        wide = [t.double() if t.is_floating_point() else t for t in candidate.captured]
        try:
            truth = torch.utils._pytree.tree_leaves(candidate.original(*wide))
        except RuntimeError:  # an operator without a float64 form
            truth = torch.utils._pytree.tree_leaves(candidate.original(*candidate.captured))
    return max(distance(mine, truth), default=0.0)

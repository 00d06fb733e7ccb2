"""The evidence files of a bench: one for each task and sample that was solved, written from what its run left behind."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from kernelwright.agent import recording
from kernelwright.agent.bench.plan import Part, Plan
from kernelwright.agent.evidence import file, make
from kernelwright.agent.evidence.records import Origin
from kernelwright.agent.workspace import Workspace
from kernelwright.memory.records import TaskOutcome
from kernelwright.tasks.records import Attempt, Task, digest

FOLDER = "evidence"
_LONGEST = 150


def name_of(task: str, sample: int, tasks: Collection[str]) -> str:
    """The file of a task's sample, relative to the bench's folder; ``tasks``: all of the bench."""
    plain = _plain(task)
    if len(plain) > _LONGEST or any(other != task and _plain(other) == plain for other in tasks):
        plain = f"{plain[:_LONGEST]}-{digest(task)[:6]}"
    return f"{FOLDER}/{plain}-s{sample}.json"


def _plain(task: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", task.replace("/", "-")).lstrip(".-") or "task"


def write(
    plan: Plan, part: Part, task: Task, outcome: TaskOutcome, attempts: Sequence[Attempt], workspace: Workspace
) -> str | None:
    """Write the evidence of a solved task, unless it is there; its path relative to the bench's folder.

    None where the run kept no kernel or verdict of it.
    """
    winner = next((attempt for attempt in attempts if attempt.id == outcome.best), None)
    if winner is None or outcome.verdict is None:
        return None
    name = name_of(task.name, part.sample, {t.name for t in plan.tasks})
    path = workspace.run(plan.id) / name
    if path.is_file():
        return name
    config = plan.config
    origin = Origin(
        plan.suite, plan.id, part.run, part.sample, config.seed + part.sample - 1, plan.model, config.policy, winner.id
    )
    audits, device = workspace.run(part.run) / "audit", recording.device_of(part.run, workspace)
    found = make.of_winner(winner, outcome.verdict, task, audits, config.judging(), device, origin)
    if found is None:
        return None
    file.save(found, path)
    return name

"""The tables of runs and of their tasks: each function works inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kernelwright.memory.records import RunRecord, TaskOutcome
from kernelwright.memory.schema import run_tasks, runs
from kernelwright.tasks.codec import from_json, to_json
from kernelwright.tasks.records import Task


def insert(tx: Connection, run: RunRecord) -> None:
    """Add a run and its tasks."""
    tx.execute(runs.insert().values(id=run.id, config=to_json(run.config), status=run.status, created=run.created))
    held = [
        {"run": run.id, "task": t.name, "position": i, "task_id": t.task_id, "record": to_json(t)}
        for i, t in enumerate(run.tasks)
    ]
    if held:
        tx.execute(run_tasks.insert(), held)


def load(tx: Connection, run_id: str | None = None) -> tuple[RunRecord, ...]:
    """The run with this id, or all, newest first."""
    query = sa.select(runs).order_by(runs.c.created.desc(), runs.c.id.desc())
    tasks_query = sa.select(run_tasks.c.run, run_tasks.c.record).order_by(run_tasks.c.position)
    if run_id is not None:
        query = query.where(runs.c.id == run_id)
        tasks_query = tasks_query.where(run_tasks.c.run == run_id)
    found, held = tx.execute(query).all(), tx.execute(tasks_query.where(run_tasks.c.record.is_not(None))).all()
    tasks: dict[str, list[Task]] = {}
    for row in held:
        tasks.setdefault(row.run, []).append(from_json(Task, row.record))
    return tuple(RunRecord(r.id, r.config, r.status, r.created, tuple(tasks.get(r.id, ()))) for r in found)


def newest(tx: Connection) -> list[str]:
    """Ids of the ten newest runs."""
    return list(tx.execute(sa.select(runs.c.id).order_by(runs.c.created.desc()).limit(10)).scalars())


def change(tx: Connection, run_id: str, **values: Any) -> bool:
    """Set columns of a run; False where there is none."""
    return tx.execute(runs.update().where(runs.c.id == run_id).values(**values)).rowcount == 1


def set_budget(tx: Connection, run_id: str, budget: int) -> bool:
    """Change how many attempts a task a run may make; False where there is no such run."""
    config = column(tx, run_id, "config")
    return config is not None and change(tx, run_id, config={**config, "budget": budget})


def set_limits(tx: Connection, run_id: str, limits: Mapping[str, float]) -> bool:
    """Change what a run may spend, of what is named; False where there is no such run."""
    config = column(tx, run_id, "config")
    if config is None:
        return False
    return change(tx, run_id, config={**config, "limits": {**(config.get("limits") or {}), **limits}})


def add_seconds(tx: Connection, run_id: str, seconds: float) -> None:
    """Add to the wall time that processes have worked on a run."""
    tx.execute(runs.update().where(runs.c.id == run_id).values(seconds=runs.c.seconds + seconds))


def column(tx: Connection, run_id: str, name: str) -> Any:
    """One column of a run; None where there is no such run."""
    return tx.execute(sa.select(runs.c[name]).where(runs.c.id == run_id)).scalar_one_or_none()


def set_outcome(tx: Connection, run_id: str, task_name: str, outcome: TaskOutcome) -> bool:
    """How a task ended, one that did not load included; False where there is no such run."""
    where = (run_tasks.c.run == run_id) & (run_tasks.c.task == task_name)
    data = to_json(outcome)
    if tx.execute(run_tasks.update().where(where).values(outcome=data)).rowcount == 1:
        return True
    if column(tx, run_id, "id") is None:
        return False
    last = sa.select(sa.func.max(run_tasks.c.position)).where(run_tasks.c.run == run_id)
    position = (tx.execute(last).scalar_one() or 0) + 1
    row = {"run": run_id, "task": task_name, "position": position, "task_id": "", "outcome": data}
    tx.execute(run_tasks.insert().values(row))
    return True


def outcomes(tx: Connection, run_id: str) -> Mapping[str, TaskOutcome]:
    """Task name -> outcome, for the tasks that have one, in the run's order."""
    query = sa.select(run_tasks.c.task, run_tasks.c.outcome).where(run_tasks.c.run == run_id)
    found = tx.execute(query.order_by(run_tasks.c.position)).all()
    return {row.task: from_json(TaskOutcome, row.outcome) for row in found if row.outcome is not None}

"""Kernels of earlier runs that a new run may begin with: on the same task, then on its nearest neighbours."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping

import sqlalchemy as sa

from kernelwright.memory import lessons
from kernelwright.memory.recall import excluded
from kernelwright.memory.schema import run_tasks, steps
from kernelwright.memory.store import Store
from kernelwright.tasks.codec import from_json
from kernelwright.tasks.errors import TaskError
from kernelwright.tasks.records import Attempt, Status, Task, Use
from kernelwright.tasks.shapes import integers

UNKNOWN_FAMILY = "custom"
"""Of plain files: two of them have nothing in common that we know of."""
UNSHARED = 4.0
"""What a size counts that only one of two tasks has: as much as sixteen times another."""


def starting_points(
    store: Store, task: Task, backend: str, device: str, run: str = "", exclude: Collection[str] = ()
) -> Iterator[Attempt]:
    """Attempts that passed in other runs than ``run``, on this backend and device, best start first.

    First those on the task itself, the fastest of each bottleneck before the next fastest; then, nearest shapes first, the
    fastest one on each other task of its op family. Nothing learned on a task of ``exclude`` is among them, under whatever
    name the same task was run. Their speedups only order them: on this machine and day they are hearsay.
    """
    for other in _tasks(store, task, backend, device, exclude):
        own = other.task_id == task.task_id
        found = [
            a
            for a in store.variants(other.task_id, backend, device)
            if a.idea.run != run and a.duplicate_of is None and a.answer.kernel is not None
        ]
        yield from _spread(found) if own else found[:1]


def apart(a: Task, b: Task) -> float:
    """How far the shapes of two tasks lie apart: the mean, over sizes by name, of how often one is twice the other."""
    mine, other = _sizes(a), _sizes(b)
    names = mine.keys() | other.keys()
    if not names:
        return 0.0
    return math.fsum(_between(mine.get(name), other.get(name)) for name in names) / len(names)


def _between(a: int | None, b: int | None) -> float:
    if a is None or b is None:
        return UNSHARED
    return abs(math.log2(max(1, abs(a)) / max(1, abs(b))))


def _sizes(task: Task) -> Mapping[str, int]:
    """The sizes that a task is timed at first, else those that its reference has."""
    try:
        base = integers(task.source)
    except TaskError:
        base = {}
    timed = next((case.sizes for case in task.cases if case.use is Use.TIMING), {})
    return {**base, **timed}


def _tasks(store: Store, task: Task, backend: str, device: str, exclude: Collection[str]) -> list[Task]:
    """The task itself, if it was run before, and its neighbours: each once, whatever names it had."""
    on = (run_tasks.c.run == steps.c.run) & (run_tasks.c.task == steps.c.task)
    family = run_tasks.c.record["family"].as_string() == task.family
    near = (steps.c.task_id == task.task_id) | (family if task.family != UNKNOWN_FAMILY else sa.false())
    query = (
        sa.select(steps.c.task_id, steps.c.task, sa.func.max(steps.c.run))
        .join(run_tasks, on)
        .where(steps.c.backend == backend, steps.c.device == device, steps.c.learned)
        .where(steps.c.status == Status.PASSED.value, near)
        .group_by(steps.c.task_id, steps.c.task)
        .order_by(steps.c.task_id, steps.c.task)
    )
    with store.read() as tx:
        rows = tx.execute(query).all()
        left_out = {i for i, name, _ in rows if excluded(name, exclude)}
        left_out |= {task.task_id} if excluded(task.name, exclude) else set()
        newest = {i: (name, run) for i, name, run in rows if i not in left_out}
        found = []
        for name, run in newest.values():
            held = sa.select(run_tasks.c.record).where(run_tasks.c.run == run, run_tasks.c.task == name)
            found.append(from_json(Task, tx.execute(held).scalar_one()))
    return sorted(found, key=lambda t: (t.task_id != task.task_id, apart(t, task), t.name))


def _spread(fastest: list[Attempt]) -> list[Attempt]:
    """The fastest of each bottleneck, then the others; each part fastest first."""
    heads: dict[str, Attempt] = {}
    for attempt in fastest:
        heads.setdefault(lessons.bottleneck(attempt.verdict), attempt)
    first = {attempt.id for attempt in heads.values()}
    return sorted(fastest, key=lambda a: a.id not in first)

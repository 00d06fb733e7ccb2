"""A run as people watch it: attempts without their texts, by the columns and JSON fields that matter. Each function works in
the caller's transaction; ten thousand attempts are read in a fraction of a second.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kernelwright.memory import rows
from kernelwright.memory.artifacts import Artifacts
from kernelwright.memory.schema import run_tasks, runs, steps
from kernelwright.tasks.errors import UnknownName
from kernelwright.tasks.records import Answer, Idea, Interval, Status, Verdict

SOLVED = ("improved", "solved")
_CHUNK = 500
WAITING = "waiting"
_PASSED = Status.PASSED.value


@dataclass(frozen=True)
class RunLine:
    """A run in one line."""

    run: str
    status: str
    created: str
    config: Mapping[str, Any]
    tasks: int
    solved: int
    attempts: int
    """Ideas that were asked."""


@dataclass(frozen=True)
class Outline:
    """An attempt, or what is to become one, without its texts."""

    id: str
    task: str
    number: int
    stage: str
    """``draft``, ``refine``, or ``repair`` of either that was rejected."""
    parent_id: str | None
    status: str
    """The verdict's, ``unreadable``, or ``waiting`` while an answer or a verdict is still to come."""
    model: str
    latency: Interval | None
    """µs."""
    speedup: float | None
    """Against eager."""
    decided: str = ""
    """The stage of the cascade that decided; empty, as are the next two, until it is :func:`told`."""
    reason: str = ""
    strategy: str = ""


@dataclass(frozen=True)
class Tally:
    """How the search of one task stands."""

    counts: Mapping[str, int]
    """Status -> attempts."""
    best: Outline | None
    """The winner; of a task without one the fastest so far."""

    @property
    def asked(self) -> int:
        return sum(self.counts.values())

    @property
    def passed(self) -> int:
        return self.counts.get(_PASSED, 0)


@dataclass(frozen=True)
class Whole:
    """One attempt in full, but for the context's own records."""

    idea: Idea
    answer: Answer | None
    verdict: Verdict | None
    items: tuple[tuple[str, float, float], ...]
    """What memory gave: (experience, similarity, value then)."""
    knowledge: tuple[str, ...]
    """Experiences about APIs that the context held."""


def run_lines(tx: Connection, limit: int, offset: int = 0) -> tuple[RunLine, ...]:
    """Runs, newest first."""
    query = sa.select(runs).order_by(runs.c.created.desc(), runs.c.id.desc()).limit(limit).offset(offset)
    found = tx.execute(query).all()
    ids = [row.id for row in found]
    ended = run_tasks.c.outcome["status"].as_string()
    solved = sa.func.sum(sa.case((ended.in_(SOLVED), 1), else_=0))
    of_tasks = sa.select(run_tasks.c.run, sa.func.count(), solved).where(run_tasks.c.run.in_(ids)).group_by(run_tasks.c.run)
    tasks = {run: (count, won) for run, count, won in tx.execute(of_tasks)}
    of_steps = sa.select(steps.c.run, sa.func.count()).where(steps.c.run.in_(ids)).group_by(steps.c.run)
    asked = {run: count for run, count in tx.execute(of_steps)}
    return tuple(
        RunLine(r.id, r.status, r.created, r.config, *tasks.get(r.id, (0, 0)), asked.get(r.id, 0)) for r in found
    )


def run_count(tx: Connection) -> int:
    """How many runs there are."""
    return int(tx.execute(sa.select(sa.func.count()).select_from(runs)).scalar_one())


def attempts(tx: Connection, run: str, task: str | None = None) -> tuple[Outline, ...]:
    """Every step of a run, or of one task of it: tasks in the run's order, each in order of number; with no text yet."""
    return _outlines(tx, steps.c.run == run if task is None else (steps.c.run == run) & (steps.c.task == task))


def tallies(tx: Connection, run: str, winners: Mapping[str, str | None]) -> dict[str, Tally]:
    """Task -> how its search stands, for a run's tasks that have steps. ``winners``: task -> attempt, where it is known."""
    c = steps.c
    counts: dict[str, dict[str, int]] = {}
    query = sa.select(c.task, c.status, sa.func.count()).where(c.run == run).group_by(c.task, c.status)
    for task, status, count in tx.execute(query):
        counts.setdefault(task, {})[status or WAITING] = count
    best = {task: winners.get(task) or _fastest(tx, run, task) for task in counts}
    found = {o.id: o for o in _outlines(tx, c.id.in_([id_ for id_ in best.values() if id_]))}
    return {task: Tally(of, found.get(best[task] or "")) for task, of in counts.items()}


def rejected(tx: Connection, run: str, most: int) -> tuple[Outline, ...]:
    """The attempts of a run that came to nothing, told, the last ones first: of the last task, and of the largest number."""
    c = steps.c
    where = (c.run == run) & c.status.is_not(None) & (c.status != _PASSED)
    joined = steps.outerjoin(run_tasks, (run_tasks.c.run == c.run) & (run_tasks.c.task == c.task))
    order = (run_tasks.c.position.desc(), c.number.desc())
    ids = tx.execute(sa.select(c.id).select_from(joined).where(where).order_by(*order).limit(most)).scalars()
    return told(tx, _outlines(tx, c.id.in_(list(ids)))[::-1])


def _fastest(tx: Connection, run: str, task: str) -> str | None:
    c = steps.c
    passed = (c.run == run) & (c.task == task) & (c.status == _PASSED)
    order = (sa.func.coalesce(c.speedup, 0.0).desc(), c.number)
    return tx.execute(sa.select(c.id).where(passed).order_by(*order).limit(1)).scalar_one_or_none()


def _outlines(tx: Connection, where: sa.ColumnElement[bool]) -> tuple[Outline, ...]:
    c = steps.c
    columns = (
        c.id,
        c.task,
        c.number,
        c.stage,
        c.model,
        c.status,
        c.speedup,
        c.answer.is_not(None).label("answered"),
        c.idea["parent"].as_string().label("parent"),
        sa.case((c.speedup.is_not(None), c.verdict[("timing", "latency_us")]), else_=None).label("latency"),
    )
    joined = steps.outerjoin(run_tasks, (run_tasks.c.run == c.run) & (run_tasks.c.task == c.task))
    query = sa.select(*columns).select_from(joined).where(where).order_by(run_tasks.c.position, c.number)
    found = tx.execute(query).all()
    status = {row.id: row.status for row in found}
    if elsewhere := {row.parent for row in found if row.parent} - set(status):  # start points of earlier runs
        parents = tx.execute(sa.select(c.id, c.status).where(c.id.in_(sorted(elsewhere))))
        status |= {row.id: row.status for row in parents}
    return tuple(_outline(row, status) for row in found)


def told(tx: Connection, of: Sequence[Outline]) -> tuple[Outline, ...]:
    """The same with what was said of each: its strategy, the deciding stage and the reason."""
    c = steps.c
    columns = (
        c.id,
        c.answer["strategy"].as_string().label("strategy"),
        c.answer["problem"].as_string().label("problem"),
        c.verdict["reason"].as_string().label("reason"),
        c.verdict["stage"].as_string().label("decided"),
    )
    texts: dict[str, Any] = {}
    for i in range(0, len(of), _CHUNK):
        query = sa.select(*columns).where(c.id.in_([outline.id for outline in of[i : i + _CHUNK]]))
        texts |= {row.id: row for row in tx.execute(query)}
    return tuple(_with_text(outline, texts[outline.id]) if outline.id in texts else outline for outline in of)


def whole(tx: Connection, id_: str, artifacts: Artifacts) -> Whole:
    """One attempt in full, in flight or done.

    Raises:
        UnknownName: the store does not hold it.
    """
    c = steps.c
    row = tx.execute(sa.select(c.idea, c.answer, c.verdict, c.context).where(c.id == id_)).mappings().one_or_none()
    if row is None:
        raise UnknownName(f"no attempt {id_!r} in this store", "ids are <run>-<task>-<number>: see the run's page or report")
    context = row["context"]
    items = tuple((item, similarity, q) for item, similarity, q in context["items"])
    return Whole(*rows.parts(row, artifacts), items, tuple(context["knowledge"]))


def held(tx: Connection, ids: Sequence[str]) -> set[str]:
    """Which of ``ids`` are steps of this store."""
    return set(tx.execute(sa.select(steps.c.id).where(steps.c.id.in_(list(ids)))).scalars())


def _with_text(of: Outline, row: Any) -> Outline:
    reason = row.reason or row.problem or of.reason
    return dataclasses.replace(of, reason=reason, strategy=row.strategy or "", decided=row.decided or "")


def _outline(row: Any, status: Mapping[str, str | None]) -> Outline:
    rejected = row.parent is not None and status.get(row.parent, _PASSED) != _PASSED
    waits = "the verdict is still to come" if row.answered else "the answer is still to come"
    return Outline(
        id=row.id,
        task=row.task,
        number=row.number,
        stage="repair" if rejected else row.stage,
        parent_id=row.parent,
        status=row.status or WAITING,
        model=row.model or "",
        latency=Interval(**row.latency) if row.latency else None,
        speedup=row.speedup,
        reason=waits if row.status is None else "",
    )

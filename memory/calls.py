"""The table of model calls, the ledger of a run: each function works inside the caller's transaction.

What a run spent is the sum of its calls, and of those answers behind which no call stands: writers of a person's own that
call models themselves, and runs of the time before calls were kept. The answers of a replay spent nothing: their tokens
are those of the calls that they repeat.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from kernelwright.memory.artifacts import Artifacts, hash_of
from kernelwright.memory.records import Call, Line, Spent
from kernelwright.memory.schema import calls, run_tasks, runs, steps
from kernelwright.memory.spending import total

UNCALLED = "answer"
"""Role in the ledger of an answer behind which no call stands."""
_REPLAY = "replay:"
_TEXTS = ("request", "text")


def insert(tx: Connection, run: str, task: str, call: Call, artifacts: Artifacts) -> Call:
    """Add a call; one without an id gets the next of its idea, or of the run where it belongs to no idea."""
    if not call.id:
        of = (calls.c.run == run) & (calls.c.idea == call.idea)
        number = tx.execute(sa.select(sa.func.count()).where(of)).scalar_one() + 1
        call = dataclasses.replace(call, id=f"{call.idea or run}/{number}")
    row = {field.name: getattr(call, field.name) for field in dataclasses.fields(Call)}
    row.update({name: artifacts.put(row[name]) for name in _TEXTS})
    tx.execute(calls.insert().values(run=run, task=task, **row))
    return call


def of_run(tx: Connection, run: str, artifacts: Artifacts) -> tuple[Call, ...]:
    """Every call of a run, tasks in the run's order, each in order of asking; those of no task come first."""
    joined = calls.outerjoin(run_tasks, (run_tasks.c.run == calls.c.run) & (run_tasks.c.task == calls.c.task))
    query = sa.select(calls, run_tasks.c.position).select_from(joined).where(calls.c.run == run)
    found = tx.execute(query).mappings().all()
    return tuple(_call(row, artifacts) for row in sorted(found, key=_order))


def answered(tx: Connection, asked: tuple[str, str, str, str], artifacts: Artifacts) -> Call | None:
    """The earliest call with this idea, role, model and request that gave any text; None where there is none.

    A text that was cut off is an answer too: its writer took it as one. A call that failed is none.
    """
    idea, role, model, request = asked
    same = (calls.c.idea == idea) & (calls.c.role == role) & (calls.c.model == model)
    query = sa.select(calls).where(same, calls.c.request == hash_of(request), calls.c.text != hash_of(""))
    found = tx.execute(query).mappings().all()
    return _call(min(found, key=lambda row: _number(row["id"])), artifacts) if found else None


def lines(tx: Connection, run: str) -> tuple[Line, ...]:
    """What a run spent by task, model and role; tasks in the run's order. The lines add up to what the run spent."""
    places = tx.execute(sa.select(run_tasks.c.task, run_tasks.c.position).where(run_tasks.c.run == run)).all()
    order = {row.task: row.position for row in places}
    found = [*_called(tx, run), *_uncalled(tx, run)]
    return tuple(sorted(found, key=lambda line: (order.get(line.task, -1), line.model, line.role)))


def _called(tx: Connection, run: str) -> list[Line]:
    c = calls.c
    sums = (sa.func.sum(c.tokens_in), sa.func.sum(c.tokens_out), sa.func.sum(c.cost_usd), sa.func.sum(c.seconds))
    query = sa.select(c.task, c.model, c.role, sa.func.count(), sa.func.count(c.cost_usd), *sums)
    rows = tx.execute(query.where(c.run == run).group_by(c.task, c.model, c.role)).all()
    return [
        Line(task, model, role, Spent(count, into, out, cost if priced == count else None, seconds))
        for task, model, role, count, priced, into, out, cost, seconds in rows
    ]


def _uncalled(tx: Connection, run: str) -> list[Line]:
    """Answers that no call of theirs accounts for."""
    config = tx.execute(sa.select(runs.c.config).where(runs.c.id == run)).scalar_one_or_none() or {}
    replayed = str(config.get("model", "")).startswith(_REPLAY)
    s = steps.c
    columns = (s.task, s.model, s.tokens_in, s.tokens_out, s.cost_usd, s.seconds)
    alone = sa.not_(sa.exists().where(calls.c.run == run, calls.c.idea == s.id))
    grouped: dict[tuple[str, str], list[Spent]] = {}
    for row in tx.execute(sa.select(*columns).where(s.run == run, s.answer.is_not(None), alone)):
        into, out = (0, 0) if replayed else (row.tokens_in, row.tokens_out)
        one = Spent(int(into + out > 0), into, out, row.cost_usd, row.seconds)
        grouped.setdefault((row.task, row.model or "unnamed"), []).append(one)
    return [Line(task, model, UNCALLED, total(of)) for (task, model), of in grouped.items()]


def _order(row: RowMapping) -> tuple[Any, ...]:
    return (-1 if row["position"] is None else row["position"], row["idea"], _number(row["id"]))


def _number(call: str) -> int:
    return int(call.rpartition("/")[2])


def _call(row: RowMapping, artifacts: Artifacts) -> Call:
    values = {field.name: row[field.name] for field in dataclasses.fields(Call)}
    values.update({name: artifacts.text(values[name]) for name in _TEXTS})
    return Call(**values)

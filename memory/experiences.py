"""The table of experiences: each function works inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from kernelwright.memory.artifacts import Artifacts
from kernelwright.memory.records import Experience
from kernelwright.memory.schema import ANY, experiences

_CHUNK = 500


def scope(kind: str, backend: str) -> str:
    """Who can use an experience; the index keeps one collection a scope.

    What worked is text that any backend can learn from. What failed, how it is written and its code are a backend's
    own. API knowledge is looked up by name, so it lies apart.
    """
    if kind == "api":
        return f"api:{backend or ANY}"
    return ANY if kind == "success" or not backend else backend


def usable(backend: str) -> tuple[str, ...]:
    """The scopes that recall for a backend draws its pool from."""
    return (backend, ANY)


def api_scopes(backend: str) -> tuple[str, ...]:
    """Where a backend's API knowledge lies."""
    return (scope("api", backend), scope("api", ""))


def insert(
    tx: Connection, new: Sequence[Experience], content: str, origin: str, artifacts: Artifacts
) -> tuple[Experience, ...]:
    """Add what is new, and return that. Known is the same kind about the same ``content``, for one backend and device.

    ``origin`` says where they come from: a run, or a knowledge file.
    """
    c = experiences.c
    there = tx.execute(sa.select(c.kind, c.backend, c.device).where(c.content == content)).all()
    known = {(row.kind, row.backend, row.device) for row in there}
    added = tuple(e for e in new if (e.kind, e.backend, e.device) not in known)
    if added:
        tx.execute(experiences.insert(), [_row(e, content, origin, artifacts) for e in added])
    return added


def load(tx: Connection, ids: Collection[str], artifacts: Artifacts) -> dict[str, Experience]:
    """Experiences by id, in full, retired ones too. Code that only another machine holds comes back empty."""
    query = sa.select(experiences)
    return {row["id"]: _experience(row, artifacts) for row in _by_id(tx, query, ids)}


def outlines(tx: Connection, ids: Collection[str]) -> dict[str, RowMapping]:
    """id -> (id, task, content, bottleneck) of those that are not retired: what choosing needs."""
    c = experiences.c
    query = sa.select(c.id, c.task, c.content, c.bottleneck).where(sa.not_(c.retired))
    return {row["id"]: row for row in _by_id(tx, query, ids)}


def of_scope(tx: Connection, name: str, artifacts: Artifacts) -> tuple[Experience, ...]:
    """Everything in one scope that is not retired, by id."""
    query = sa.select(experiences).where(experiences.c.scope == name, sa.not_(experiences.c.retired))
    return tuple(_experience(row, artifacts) for row in tx.execute(query.order_by(experiences.c.id)).mappings())


def counts(tx: Connection, column: str) -> dict[str, int]:
    """Value of ``column`` (``kind``, ``backend``) -> experiences that are not retired."""
    by = experiences.c[column]
    query = sa.select(by, sa.func.count()).where(sa.not_(experiences.c.retired)).group_by(by).order_by(by)
    return {row[0]: row[1] for row in tx.execute(query)}


def scopes(tx: Connection) -> dict[str, int]:
    """Scope -> experiences, retired ones too: what the index holds."""
    by = experiences.c.scope
    return {row[0]: row[1] for row in tx.execute(sa.select(by, sa.func.count()).group_by(by).order_by(by))}


def ids_of_scope(tx: Connection, name: str) -> set[str]:
    """Ids of one scope, retired ones too."""
    return set(tx.execute(sa.select(experiences.c.id).where(experiences.c.scope == name)).scalars())


def ids_of_origin(tx: Connection, prefix: str) -> set[str]:
    """Ids of all, retired or not, whose origin starts so."""
    c = experiences.c
    return set(tx.execute(sa.select(c.id).where(c.origin.startswith(prefix, autoescape=True))).scalars())


def texts(tx: Connection, ids: Collection[str]) -> dict[str, str]:
    """id -> the text that is embedded."""
    return {row["id"]: row["text"] for row in _by_id(tx, sa.select(experiences.c.id, experiences.c.text), ids)}


def retire_others(tx: Connection, keep: Collection[str], prefix: str) -> None:
    """Make the experiences ``keep`` current, and retire the rest under origins that start with ``prefix``.

    Retired items are recalled no more, but old contexts still show them.
    """
    c = experiences.c
    there = tx.execute(sa.select(c.id, c.origin, c.retired).where(c.origin.startswith(prefix, autoescape=True))).all()
    for row in there:
        if row.retired != (row.id not in keep):
            tx.execute(experiences.update().where(c.id == row.id).values(retired=row.id not in keep))


def _by_id(tx: Connection, query: sa.Select[Any], ids: Collection[str]) -> Iterator[RowMapping]:
    ordered = sorted(ids)
    for i in range(0, len(ordered), _CHUNK):
        yield from tx.execute(query.where(experiences.c.id.in_(ordered[i : i + _CHUNK]))).mappings()


def _row(e: Experience, content: str, origin: str, artifacts: Artifacts) -> dict[str, Any]:
    return {
        "id": e.id,
        "kind": e.kind,
        "stage": e.stage,
        "backend": e.backend,
        "device": e.device,
        "family": e.family,
        "task": e.task,
        "status": e.status,
        "bottleneck": e.bottleneck,
        "speedup": e.speedup,
        "parents": list(e.parents),
        "scope": scope(e.kind, e.backend),
        "origin": origin,
        "content": content,
        "retired": False,
        "code": artifacts.put(e.code) if e.code else "",
        "lesson": e.lesson,
        "text": e.text,
    }


def _experience(row: RowMapping, artifacts: Artifacts) -> Experience:
    code = artifacts.find(row["code"]) if row["code"] else None
    return Experience(
        id=row["id"],
        kind=row["kind"],
        stage=row["stage"],
        backend=row["backend"],
        device=row["device"],
        family=row["family"],
        task=row["task"],
        text=row["text"],
        code="" if code is None else code.decode("utf-8", "surrogatepass"),
        lesson=row["lesson"],
        status=row["status"],
        bottleneck=row["bottleneck"],
        speedup=row["speedup"],
        parents=tuple(row["parents"]),
    )

"""The table of experiences: each function works inside the caller's transaction."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from kernelwright.memory import alike, archive
from kernelwright.memory.archive import Gone
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


@dataclass(frozen=True)
class Changed:
    """What recall gained and lost."""

    added: tuple[Experience, ...] = ()
    gone: tuple[Gone, ...] = ()


def insert(tx: Connection, new: Sequence[Experience], content: str, origin: str, artifacts: Artifacts) -> Changed:
    """Take in what is new; the rest is counted. Known is the same kind about the same ``content``, for one backend and device.

    A near-duplicate (:mod:`~kernelwright.memory.alike`) is merged: the better of the two is recalled from now on and stands
    for both, the other is archived. ``origin`` says where they come from: a run, a knowledge file, another memory.
    """
    c = experiences.c
    there = tx.execute(sa.select(c.id, c.kind, c.backend, c.device, c.archived).where(c.content == content)).all()
    known = {(row.kind, row.backend, row.device): row for row in there}
    added, gone = list[Experience](), list[Gone]()
    for e in new:
        if (same := known.get((e.kind, e.backend, e.device))) is not None:
            archive.count_again(tx, same.id)
            if same.archived == archive.EVICTED:  # it is met again: there is room for it
                archive.restore(tx, [same.id])
                added += load(tx, [same.id], artifacts).values()
            continue
        row = _row(e, content, origin, artifacts)
        standing = alike.find(tx, e)
        if standing is not None and not alike.better(e, standing):
            row |= {"retired": True, "archived": archive.MERGED, "successor": standing.id}
            tx.execute(experiences.insert(), row)
            tx.execute(experiences.update().where(c.id == standing.id).values(seen=c.seen + e.seen))
            continue
        if standing is not None:
            gone.append(archive.supersede(tx, standing, e.id))
            row["seen"] = standing.seen + e.seen
        tx.execute(experiences.insert(), row)
        added.append(dataclasses.replace(e, seen=row["seen"]))
    return Changed(tuple(added), tuple(gone))


def held(tx: Connection, contents: Sequence[str]) -> set[str]:
    """Those of ``contents`` that some experience is about, retired or not."""
    c = experiences.c
    found: set[str] = set()
    for i in range(0, len(contents), _CHUNK):
        found.update(tx.execute(sa.select(c.content).where(c.content.in_(contents[i : i + _CHUNK]))).scalars())
    return found


def add(tx: Connection, new: Sequence[tuple[Experience, str, str]], artifacts: Artifacts) -> None:
    """Take in knowledge (experience, content, origin), of which nothing is :func:`held`, merged with nothing."""
    if rows := [_row(e, content, origin, artifacts) for e, content, origin in new]:
        tx.execute(experiences.insert(), rows)


def load(tx: Connection, ids: Collection[str], artifacts: Artifacts) -> dict[str, Experience]:
    """Experiences by id, in full, retired ones too. Code that only another machine holds comes back empty."""
    query = sa.select(experiences)
    return {row["id"]: _experience(row, artifacts) for row in _by_id(tx, query, ids)}


def outlines(tx: Connection, ids: Collection[str], clause: sa.ColumnElement[bool] | None = None) -> dict[str, RowMapping]:
    """id -> (id, task, content, bottleneck) of those that are not retired, or that ``clause`` keeps: what choosing needs."""
    c = experiences.c
    kept = sa.not_(c.retired) if clause is None else clause
    return {row["id"]: row for row in _by_id(tx, sa.select(c.id, c.task, c.content, c.bottleneck).where(kept), ids)}


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
    """Scope -> experiences that are not retired, where there are any or were: what the index holds."""
    c = experiences.c
    current = sa.func.sum(sa.case((c.retired, 0), else_=1))
    return {row[0]: row[1] for row in tx.execute(sa.select(c.scope, current).group_by(c.scope).order_by(c.scope))}


def ids_of_scope(tx: Connection, name: str) -> set[str]:
    """Ids of those of one scope that are not retired."""
    c = experiences.c
    return set(tx.execute(sa.select(c.id).where(c.scope == name, sa.not_(c.retired))).scalars())


def origins(tx: Connection, prefix: str) -> dict[str, str]:
    """id -> origin of all, retired or not, whose origin starts so."""
    c = experiences.c
    found = tx.execute(sa.select(c.id, c.origin).where(c.origin.startswith(prefix, autoescape=True)))
    return {row.id: row.origin for row in found}


def set_origin(tx: Connection, id_: str, origin: str) -> None:
    """Say anew where an experience comes from."""
    tx.execute(experiences.update().where(experiences.c.id == id_).values(origin=origin))


def tasks(tx: Connection) -> tuple[str, ...]:
    """Names of the tasks that experiences are of, retired or not."""
    return tuple(tx.execute(sa.select(experiences.c.task).distinct()).scalars())


def ids_of_tasks(tx: Connection, names: Sequence[str]) -> set[str]:
    """Ids of all, retired or not, of the tasks ``names``, given in full."""
    c = experiences.c
    found: set[str] = set()
    for i in range(0, len(names), _CHUNK):
        found.update(tx.execute(sa.select(c.id).where(c.task.in_(names[i : i + _CHUNK]))).scalars())
    return found


def texts(tx: Connection, ids: Collection[str]) -> dict[str, str]:
    """id -> the text that is embedded."""
    return {row["id"]: row["text"] for row in _by_id(tx, sa.select(experiences.c.id, experiences.c.text), ids)}


def retire_others(tx: Connection, keep: Collection[str], prefix: str) -> bool:
    """Make the experiences ``keep`` current, and retire the rest under origins that start with ``prefix``; whether any changed.

    Retired items are recalled no more, but old contexts still show them.
    """
    c = experiences.c
    there = tx.execute(sa.select(c.id, c.origin, c.retired).where(c.origin.startswith(prefix, autoescape=True))).all()
    changed = [row.id for row in there if row.retired != (row.id not in keep)]
    for id_ in changed:
        old = id_ not in keep
        state = {"retired": old, "archived": archive.REPLACED if old else ""}
        tx.execute(experiences.update().where(c.id == id_).values(**state))
    return bool(changed)


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
        "seen": e.seen,
        "gist": alike.gist(e),
        "archived": "",
        "successor": "",
        "created": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
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
        seen=row["seen"],
    )

"""What is recalled no more: merged into a near-duplicate, evicted for room, or replaced by a newer seed. Nothing is deleted.

Archived rows stay in the store with the reason, their values and, where they were merged, the id that stands for them now;
old contexts still show them, and all but replaced seeds can be restored. Each function works in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kernelwright.memory import values
from kernelwright.memory.alike import Standing
from kernelwright.memory.records import SEEDED
from kernelwright.memory.schema import ANY, experiences, item_values
from kernelwright.tasks.errors import InputError, UnknownName

MERGED, EVICTED, REPLACED = "merged", "evicted", "replaced"
REASONS = (MERGED, EVICTED, REPLACED)
_CHUNK = 500
_LONGEST_CHAIN = 100


@dataclass(frozen=True)
class Gone:
    """An experience that left recall: the index is to forget it."""

    id: str
    scope: str


def supersede(tx: Connection, standing: Standing, by: str) -> Gone:
    """Let the better ``by`` stand for ``standing``, and inherit what that is worth.

    ``standing`` keeps its own values: it may still be a start point.
    """
    c = experiences.c
    values.inherit(tx, standing.id, by)
    tx.execute(experiences.update().where(c.successor == standing.id).values(successor=by))
    tx.execute(experiences.update().where(c.id == standing.id).values(retired=True, archived=MERGED, successor=by))
    return Gone(standing.id, standing.scope)


def count_again(tx: Connection, id_: str) -> None:
    """One more attempt that ``id_``, or what stands for it, was met in."""
    c = experiences.c
    tx.execute(experiences.update().where(c.id == standing_for(tx, id_)).values(seen=c.seen + 1))


def standing_for(tx: Connection, id_: str) -> str:
    """The experience that stands for ``id_`` now: itself, unless it was merged."""
    successor = sa.select(experiences.c.successor)
    for _ in range(_LONGEST_CHAIN):
        found: str | None = tx.execute(successor.where(experiences.c.id == id_)).scalar_one_or_none()
        if not found:
            return id_
        id_ = found
    return id_


def forwarded(tx: Connection, ids: Collection[str]) -> tuple[str, ...]:
    """Those that stand for the merged ones among ``ids``: what an attempt in flight says of the old, it says of the new."""
    c = experiences.c
    merged = tx.execute(sa.select(c.id).where(c.id.in_(sorted(ids)), c.successor != "")).scalars().all()
    return tuple(standing_for(tx, id_) for id_ in merged)


def held(tx: Connection) -> int:
    """How many learned experiences recall may choose from."""
    return int(tx.execute(sa.select(sa.func.count()).select_from(experiences).where(_LEARNED_AND_CURRENT)).scalar_one())


def evict(tx: Connection, keep: int) -> tuple[Gone, ...]:
    """Archive the learned experiences that are worth least, so that ``keep`` remain; knowledge from files is not counted.

    Least is by the better stage's value anywhere (what was never tried has 0), then the least tried, then the oldest. Start
    points are attempts and lose nothing.
    """
    surplus = held(tx) - keep
    if surplus <= 0:
        return ()
    c, v = experiences.c, item_values.c
    worth = (
        sa.select(v.item, sa.func.max(v.q).label("q"), sa.func.sum(v.visits).label("visits"))
        .where(v.backend == ANY)
        .group_by(v.item)
        .subquery()
    )
    joined = experiences.outerjoin(worth, worth.c.item == c.id)
    order = (sa.func.coalesce(worth.c.q, 0.0), sa.func.coalesce(worth.c.visits, 0), c.created, c.id)
    query = sa.select(c.id, c.scope).select_from(joined).where(_LEARNED_AND_CURRENT).order_by(*order).limit(surplus)
    gone = tuple(Gone(row.id, row.scope) for row in tx.execute(query))
    for i in range(0, len(gone), _CHUNK):
        ids = [g.id for g in gone[i : i + _CHUNK]]
        tx.execute(experiences.update().where(c.id.in_(ids)).values(retired=True, archived=EVICTED))
    return gone


def restore(tx: Connection, ids: Sequence[str]) -> None:
    """Let archived experiences be recalled again, each standing for itself.

    Raises:
        UnknownName: one is not in the store; InputError: one is not archived, or a seed, which follows its file.
    """
    c = experiences.c
    known = {row.id: row.archived for row in tx.execute(sa.select(c.id, c.archived).where(c.id.in_(sorted(set(ids)))))}
    for id_ in ids:
        if id_ not in known:
            raise UnknownName(f"no experience {id_!r} in this memory", "see `kernelwright memory list --archived`")
        if known[id_] not in (MERGED, EVICTED):
            why = "a seed that its file has replaced" if known[id_] else "not archived"
            raise InputError(f"experience {id_} is {why}", "give ids of `kernelwright memory list --archived`")
    tx.execute(experiences.update().where(c.id.in_(sorted(set(ids)))).values(retired=False, archived="", successor=""))


_LEARNED_AND_CURRENT = sa.not_(experiences.c.retired) & sa.not_(experiences.c.origin.startswith(SEEDED, autoescape=True))

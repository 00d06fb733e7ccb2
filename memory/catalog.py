"""The memory as people look at it: experiences by filter, and one in full with its values. Each works in a transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from kernelwright.memory import experiences as table
from kernelwright.memory.artifacts import Artifacts
from kernelwright.memory.records import KINDS, Experience
from kernelwright.memory.schema import ANY, experiences, item_values
from kernelwright.tasks.errors import InputError, UnknownName
from kernelwright.tasks.records import IdeaStage

_CHUNK = 500


@dataclass(frozen=True)
class Filter:
    """Which experiences are meant; None: whatever there is.

    Raises:
        InputError: a kind or stage that does not exist.
    """

    kind: str | None = None
    stage: str | None = None
    backend: str | None = None
    device: str | None = None
    family: str | None = None
    task: str | None = None
    """In full, or the end of its name: ``rms_norm``, ``norm/rms_norm``."""
    archived: bool = False
    """Those that are recalled no more, in place of those that are."""

    def __post_init__(self) -> None:
        stages = tuple(stage.value for stage in IdeaStage)
        for name, value, known in (("kind", self.kind, KINDS), ("stage", self.stage, stages)):
            if value is not None and value not in known:
                raise InputError(f"--{name} is {value!r}", f"give one of {', '.join(known)}")

    @property
    def empty(self) -> bool:
        """Whether it keeps everything that is not archived."""
        return self == Filter()

    def clause(self) -> sa.ColumnElement[bool]:
        """As a condition on the table of experiences."""
        c = experiences.c
        clause: sa.ColumnElement[bool] = c.retired if self.archived else sa.not_(c.retired)
        for name in ("kind", "stage", "backend", "device", "family"):
            if (value := getattr(self, name)) is not None:
                clause &= c[name] == value
        if self.task is not None:
            clause &= (c.task == self.task) | c.task.endswith(f"/{self.task}", autoescape=True)
        return clause


@dataclass(frozen=True)
class ItemValue:
    """What an item is worth at a stage, for a backend and op family or (``*``) anywhere."""

    item: str
    stage: str
    backend: str
    family: str
    q: float
    visits: int


@dataclass(frozen=True)
class Entry:
    """An experience with all that the store holds about it."""

    experience: Experience
    origin: str
    """``run:<id>``, ``seed:<file>`` or ``import:<store>``."""
    content: str
    created: str
    archived: str
    """Why it is recalled no more: ``merged``, ``evicted``, ``replaced``; empty while it is."""
    successor: str
    """What stands for it, where it was merged."""
    values: tuple[ItemValue, ...] = ()

    def anywhere(self, stage: str) -> ItemValue | None:
        """Its value at a stage wherever it was used; None where it never was."""
        return next((v for v in self.values if v.stage == stage and v.backend == ANY), None)


def entries(
    tx: Connection, wanted: Filter, artifacts: Artifacts, limit: int | None = None, offset: int = 0
) -> Iterator[Entry]:
    """The experiences that a filter keeps, newest first; ``offset`` of them are left out."""
    c = experiences.c
    query = sa.select(c.id).where(wanted.clause()).order_by(c.created.desc(), c.id).limit(limit).offset(offset or None)
    ids = list(tx.execute(query).scalars())
    for i in range(0, len(ids), _CHUNK):
        yield from _load(tx, ids[i : i + _CHUNK], artifacts)


def count(tx: Connection, wanted: Filter) -> int:
    """How many experiences a filter keeps."""
    return int(tx.execute(sa.select(sa.func.count()).select_from(experiences).where(wanted.clause())).scalar_one())


def entry(tx: Connection, id_: str, artifacts: Artifacts) -> Entry:
    """The experience with this id, archived or not. The beginning of an id is enough where only one has it.

    Raises:
        UnknownName: there is none; InputError: several begin so.
    """
    c = experiences.c
    begun = sa.select(c.id).where((c.id == id_) | c.id.startswith(id_, autoescape=True)).order_by(c.id).limit(4)
    ids = list(tx.execute(begun).scalars()) if id_ else []
    if not ids:
        raise UnknownName(f"no experience {id_!r} in this memory", "see `kernelwright memory list`, with --archived too")
    if ids[0] != id_ and len(ids) > 1:
        raise InputError(f"several experiences begin with {id_!r}", f"give one in full: {', '.join(ids[:3])}…")
    return _load(tx, ids[:1], artifacts)[0]


def archived(tx: Connection) -> dict[str, int]:
    """Reason -> experiences that are recalled no more."""
    by = experiences.c.archived
    query = sa.select(by, sa.func.count()).where(experiences.c.retired).group_by(by).order_by(by)
    return {row[0]: row[1] for row in tx.execute(query)}


def _load(tx: Connection, ids: Collection[str], artifacts: Artifacts) -> list[Entry]:
    held = table.load(tx, ids, artifacts)
    c = experiences.c
    columns = (c.id, c.origin, c.content, c.created, c.archived, c.successor)
    rows: dict[str, RowMapping] = {
        row["id"]: row for row in tx.execute(sa.select(*columns).where(c.id.in_(sorted(ids)))).mappings()
    }
    v = item_values.c
    worth: dict[str, list[ItemValue]] = {}
    query = sa.select(item_values).where(v.item.in_(sorted(ids))).order_by(v.item, v.stage, v.backend, v.family)
    for row in tx.execute(query).mappings():
        worth.setdefault(row["item"], []).append(ItemValue(**row))
    return [
        Entry(
            held[i],
            rows[i]["origin"],
            rows[i]["content"],
            rows[i]["created"],
            rows[i]["archived"],
            rows[i]["successor"],
            tuple(worth.get(i, ())),
        )
        for i in ids
    ]

"""A memory as one file: what was learned and what it is worth, for another machine (format: docs/memory.md).

JSON Lines: a head, a line an experience, a line a value, an end with counts and the hash of all before. It is read as data:
every field is checked before anything is written, nothing in it names a file here, and no code of it runs unless a policy
later has the judge try it. Not protected against: a file made to mislead. Lessons reach prompts and values decide what is
recalled, so take files only from people whose advice you would follow.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kernelwright.memory import alike, archive, catalog, experiences
from kernelwright.memory.catalog import Filter, ItemValue
from kernelwright.memory.lessons import printable
from kernelwright.memory.portable_lines import FORMAT, KIND, Line, read
from kernelwright.memory.records import SEEDED, Experience
from kernelwright.memory.schema import experiences as table
from kernelwright.memory.schema import item_values
from kernelwright.memory.store import Store
from kernelwright.tasks.codec import to_json
from kernelwright.tasks.errors import WorkspaceError
from kernelwright.tasks.records import digest

Finish = Callable[[Connection, experiences.Changed], experiences.Changed]

_CHUNK = 500


@dataclass(frozen=True)
class Moved:
    """What a file held, and what of it was new here."""

    experiences: int
    values: int
    added: int = 0
    """Experiences that this memory did not have; merged ones included."""
    merged: int = 0
    """Of those, near-duplicates of what it had."""
    updated: int = 0
    """Values that were taken: unknown here, or tried more often there."""
    skipped: int = 0
    """Values of knowledge that this version does not have."""
    elsewhere: int = 0
    """Traces whose code lies on another machine: left out of an export."""


def export(store: Store, path: Path, only: Filter) -> Moved:
    """Write what attempts taught, as far as ``only`` keeps it, and its values; without a filter the values of seeds, too.

    Tasks that are files of this machine go by their last name: no path leaves it.

    Raises:
        WorkspaceError: the file cannot be written.
    """
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}-")
    except OSError as error:
        raise WorkspaceError(f"cannot write {path}: {error.strerror}", "give a file in a folder that you may write") from error
    part = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file, store.read() as tx:
            moved = Moved(0, 0)
            hashed = hashlib.sha256()

            def put(data: dict[str, Any]) -> None:
                line = json.dumps(data, ensure_ascii=True, allow_nan=False) + "\n"
                hashed.update(line.encode())
                file.write(line)

            put({"kind": KIND, "format": FORMAT, "store": store.identity, "created": _now()})
            for said in _lines(tx, store, only):
                if not said:
                    moved = replace(moved, elsewhere=moved.elsewhere + 1)
                    continue
                put(said)
                held, worth = int("experience" in said), int("value" in said)
                moved = replace(moved, experiences=moved.experiences + held, values=moved.values + worth)
            put({"end": {"experiences": moved.experiences, "values": moved.values, "sha256": hashed.hexdigest()}})
        part.chmod(0o644)
        part.replace(path)
    except OSError as error:
        raise WorkspaceError(f"cannot write {path}: {error.strerror or error}", "free space, or give another file") from error
    finally:
        part.unlink(missing_ok=True)
    return moved


def take_in(store: Store, path: Path, finish: Finish) -> tuple[Moved, experiences.Changed]:
    """Merge a file into the store in one transaction; importing it again changes nothing.

    An experience is known by its content (what it is about, kind, backend, device), whatever its id; near-duplicates merge as
    they do in learning. Of two values for one item and place that with more visits is kept, on a tie the one here: values that
    travel back and forth are so never counted twice. ``finish`` makes room, in the same transaction.

    Raises:
        InputError: the file is not one of ours, damaged, of another format, or has a line that it must not have.
    """
    for _ in read(path):  # all of it is checked before anything is written
        pass

    def work(tx: Connection) -> tuple[Moved, experiences.Changed]:
        moved, changed = _Merge(tx, store).all(path)
        return moved, finish(tx, changed)

    return store.write(work)


class _Merge:
    """One import, in one transaction."""

    def __init__(self, tx: Connection, store: Store) -> None:
        self._tx, self._store = tx, store
        self._here: dict[str, str] = {}
        """Id in the file -> id here."""
        self._standing: dict[str, str] = {}
        self._origin = "import:"
        self._moved = Moved(0, 0)
        self._added = dict[str, Experience]()
        self._gone = dict[str, archive.Gone]()

    def all(self, path: Path) -> tuple[Moved, experiences.Changed]:
        values: list[ItemValue] = []
        for line in read(path):
            if isinstance(line, Line):
                self._experience(line)
            elif isinstance(line, ItemValue):
                values.append(line)
            else:
                self._origin = f"import:{line}"
        for i in range(0, len(values), _CHUNK):
            self._values(values[i : i + _CHUNK])
        return self._moved, experiences.Changed(tuple(self._added.values()), tuple(self._gone.values()))

    def _experience(self, line: Line) -> None:
        e, c = line.experience, table.c
        self._moved = replace(self._moved, experiences=self._moved.experiences + 1)
        same = (c.content == line.content) & (c.kind == e.kind) & (c.backend == e.backend) & (c.device == e.device)
        known = self._tx.execute(sa.select(c.id).where(same).limit(1)).scalar_one_or_none()
        if known is not None:
            self._here[e.id] = known
            current = archive.standing_for(self._tx, known)
            self._tx.execute(table.update().where(c.id == current, c.seen < e.seen).values(seen=e.seen))
            return
        taken = self._tx.execute(sa.select(c.id).where(c.id == e.id)).scalar_one_or_none() is not None
        mine = replace(e, id=f"{e.id[:180]}~{digest(e.id, line.content, e.device)[:12]}") if taken else e
        self._here[e.id] = mine.id
        changed = experiences.insert(self._tx, [mine], line.content, self._origin, self._store.artifacts)
        merged = not changed.added or bool(changed.gone)
        self._moved = replace(self._moved, added=self._moved.added + 1, merged=self._moved.merged + merged)
        if line.archived and changed.added:
            state = {"retired": True, "archived": archive.EVICTED}
            self._tx.execute(table.update().where(c.id == mine.id).values(**state))
            return
        self._added |= {new.id: new for new in changed.added}
        for old in changed.gone:
            if self._added.pop(old.id, None) is None:
                self._gone[old.id] = old

    def _values(self, of_file: list[ItemValue]) -> None:
        """The better tried of two values stays, for the item and for what stands for it."""
        wanted = {v.item for v in of_file if v.item not in self._here}
        c = table.c
        query = sa.select(c.id).where(c.id.in_(sorted(wanted)), c.origin.startswith(SEEDED, autoescape=True))
        seeds = set(self._tx.execute(query).scalars())
        placed: list[tuple[ItemValue, tuple[str, ...]]] = []
        for value in of_file:
            item = self._here.get(value.item, value.item if value.item in seeds else None)
            placed.append((value, () if item is None else tuple(dict.fromkeys((item, self._stands_for(item))))))
        held = self._held({item for _, items in placed for item in items})
        added, changed = dict[_Key, ItemValue](), dict[_Key, ItemValue]()
        updated = skipped = 0
        for value, items in placed:
            taken = False
            for item in items:
                key = (item, value.stage, value.backend, value.family)
                if held.get(key, 0) < value.visits:
                    (changed if key in held and key not in added else added)[key] = replace(value, item=item)
                    held[key], taken = value.visits, True
            updated, skipped = updated + taken, skipped + (not items)
        if added:
            self._tx.execute(item_values.insert(), [asdict(value) for value in added.values()])
        if changed:
            self._tx.execute(_UPDATE, [{f"of_{name}": x for name, x in asdict(v).items()} for v in changed.values()])
        m = self._moved
        self._moved = replace(m, values=m.values + len(of_file), updated=m.updated + updated, skipped=m.skipped + skipped)

    def _stands_for(self, item: str) -> str:
        """All experiences of the file are in by then, so that it changes no more."""
        if item not in self._standing:
            self._standing[item] = archive.standing_for(self._tx, item)
        return self._standing[item]

    def _held(self, items: set[str]) -> dict[_Key, int]:
        """Visits of the values here, locked until the transaction ends."""
        v = item_values.c
        query = sa.select(item_values).where(v.item.in_(sorted(items))).order_by(v.item, v.backend).with_for_update()
        return {(row.item, row.stage, row.backend, row.family): row.visits for row in self._tx.execute(query)}


_Key = tuple[str, str, str, str]
"""Item, stage, backend, family."""
_UPDATE = (
    item_values.update()
    .where(*(item_values.c[name] == sa.bindparam(f"of_{name}") for name in ("item", "stage", "backend", "family")))
    .values(q=sa.bindparam("of_q"), visits=sa.bindparam("of_visits"))
)


def _lines(tx: Connection, store: Store, only: Filter) -> Iterator[dict[str, Any]]:
    """A line each; an empty one for what must be left out."""
    for entry in catalog.entries(tx, only, store.artifacts):
        e = entry.experience
        if not alike.learned(e):
            continue
        if e.kind == "trace" and not e.code:
            yield {}
            continue
        data = to_json(
            replace(e, task=_portable(e.task), text=printable(e.text), code=printable(e.code), lesson=printable(e.lesson))
        )
        yield {"experience": {**data, "content": entry.content, "archived": bool(entry.archived)}}
        yield from ({"value": to_json(value)} for value in entry.values if value.visits)
    if only.empty:
        seeds = sa.select(table.c.id).where(sa.not_(table.c.retired), table.c.origin.startswith(SEEDED, autoescape=True))
        held = sa.select(item_values).where(item_values.c.item.in_(seeds)).order_by(*item_values.primary_key)
        yield from ({"value": to_json(ItemValue(**row))} for row in tx.execute(held).mappings())


def _portable(task: str) -> str:
    """A task's name without any path of this machine."""
    parts = PurePosixPath(task).parts
    local = not parts or parts[0] in ("/", "~") or ".." in parts or task.startswith(".")
    return f"file/{parts[-1] if parts and parts[-1] not in ('/', '..') else 'task'}" if local else task


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")

"""What is near a text and may be recalled: the index finds, the store says what is current."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from kernelwright.memory import experiences, recall
from kernelwright.memory.catalog import Filter
from kernelwright.memory.embed import embed
from kernelwright.memory.index import Index, Near
from kernelwright.memory.scan import Scan
from kernelwright.memory.store import Store


class Finder:
    """The index of a store. ``exclude`` names tasks (in full or by the end of their name) whose experiences are never near."""

    def __init__(self, store: Store, index: Index, exclude: Collection[str] = ()) -> None:
        self.index = index
        self.exclude = frozenset(exclude)
        self.ready = False
        """Whether the index is level with the store: from then on :meth:`follow` keeps it so."""
        self._store = store
        self._scans: dict[tuple[str, ...], Scan] = {}
        """Where tasks are excluded: scopes -> the vectors of the rest."""

    def open(self, exact: bool) -> None:
        """Bring the index level with the store; ``exact``: whatever the counts say."""
        self.index.sync(_Source(self._store), exact=exact)
        self.ready = True

    def close(self) -> None:
        """Close the index. May be repeated."""
        self.index.close()
        self.ready = False

    def follow(self, changed: experiences.Changed) -> None:
        """Once it is committed: tell the index, if it is open; else it catches up when it is opened."""
        if not self.ready:
            return
        for new in changed.added:
            scope = experiences.scope(new.kind, new.backend)
            self.index.add(scope, {new.id: new.text})
            if not recall.excluded(new.task, self.exclude):
                for scan in [scan for scopes, scan in self._scans.items() if scope in scopes]:
                    scan.add(new.id, embed([new.text])[0])
        for old in changed.gone:
            self.index.remove(old.scope, [old.id])

    def near(
        self, text: str, scopes: Sequence[str], wanted: int, shown: Collection[str] = (), only: Filter | None = None
    ) -> list[tuple[Near, str]]:
        """The nearest that may be recalled, with their bottlenecks: current, each kernel once, of no excluded task.

        ``shown`` are contents that stand in the context already.
        """
        clause = None if only is None else only.clause()
        n = 2 * (wanted + len(shown)) + 8  # a kernel has a trace and a lesson
        vector, scan = embed([text])[0], self._scans.get(tuple(scopes))
        while True:
            near = self.index.near(vector, scopes, n) if scan is None else scan.near(vector, n)
            with self._store.read() as tx:
                outlines = experiences.outlines(tx, [item.id for item in near], clause)
            pool: list[tuple[Near, str]] = []
            seen = set(shown)
            for item in near:
                outline = outlines.get(item.id)
                if outline is None or outline["content"] in seen or recall.excluded(outline["task"], self.exclude):
                    continue
                seen.add(outline["content"])
                pool.append((item, outline["bottleneck"]))
            if len(pool) >= wanted or len(near) < n:
                return pool[:wanted]
            if self.exclude and scan is None:  # what is near is excluded: go through the rest
                scan = self._scans[tuple(scopes)] = self._scan(scopes)
            else:
                n *= 4

    def _scan(self, scopes: Sequence[str]) -> Scan:
        with self._store.read() as tx:
            names = [name for name in experiences.tasks(tx) if recall.excluded(name, self.exclude)]
            without = experiences.ids_of_tasks(tx, names)
        return Scan(self.index, scopes, without)


class _Source:
    """The store's experiences, as the index sees them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.identity = store.identity

    def counts(self) -> Mapping[str, int]:
        with self._store.read() as tx:
            return experiences.scopes(tx)

    def ids(self, scope: str) -> set[str]:
        with self._store.read() as tx:
            return experiences.ids_of_scope(tx, scope)

    def texts(self, ids: Collection[str]) -> Mapping[str, str]:
        with self._store.read() as tx:
            return experiences.texts(tx, ids)

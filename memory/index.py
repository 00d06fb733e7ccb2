"""Nearest experiences by embedding, in Chroma: a folder or a server. It may lag behind the store, and can be rebuilt from it.

One collection a scope instead of a metadata filter: Chroma answers a filter in time linear in what matches (20 ms at
10,000 rows against 2 ms without), and recall has 30 ms at 100,000.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from kernelwright.memory import chroma_folder, chroma_server
from kernelwright.memory.chroma_folder import Folder
from kernelwright.memory.chroma_server import Server, Unreachable, away, unreachable
from kernelwright.memory.embed import DIMENSIONS, EMBEDDER, embed
from kernelwright.memory.patience import Patience
from kernelwright.tasks.errors import WorkspaceError
from kernelwright.tasks.records import digest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")

_BATCH = 1000
_EVERY = 0.5
"""Seconds between two looks at a server that is waited for."""
_CONFIGURATION = {"hnsw": {"space": "cosine", "ef_search": 200}}


class Source(Protocol):
    """What an index is made from: the store's experiences that may be recalled."""

    @property
    def identity(self) -> str:
        """Names the store: vectors of another one are dropped."""
        ...

    def counts(self) -> Mapping[str, int]:
        """Scope -> how many experiences it has."""
        ...

    def ids(self, scope: str) -> set[str]:
        """The experiences of a scope."""
        ...

    def texts(self, ids: Collection[str]) -> Mapping[str, str]:
        """id -> the text to embed."""
        ...


@dataclass(frozen=True)
class Near:
    """A neighbour and its cosine similarity."""

    id: str
    similarity: float


class Index:
    """Vectors of a store's experiences, opened by :meth:`sync`. Not for several threads.

    Of a folder one process is the writer. Another that opens it meanwhile reads it and keeps what it lacks in its own
    memory: it sees all that was there when it started. On a server every process writes.
    """

    def __init__(self, place: Folder | Server) -> None:
        self.place = place
        self.notes: list[str] = []
        """What had to be repaired, a line each; the reader takes them away."""
        self._source: Source | None = None
        self._client: Any = None
        self._reached = False
        """The server has answered once: from then on it is waited for where it goes away."""
        self._leave = False
        """The folder cannot be read, and another process writes it: do without."""
        self._collections: dict[str, Any] = {}
        self._names: set[str] = set()
        """Collections that were there when the place was opened."""
        self._awaited: set[str] = set()
        """Scopes that the place has nothing of: filled when they are first asked for, as most runs ask for one backend's."""
        self._pending: dict[str, dict[str, str]] = {}
        """Scope -> id -> text of what the place does not have yet."""
        self._gone: dict[str, set[str]] = {}
        """Scope -> ids of what the place still has, and is not to be found."""

    @property
    def writes(self) -> bool:
        """Whether this process writes the place."""
        return self.place.writes

    def claim(self) -> bool:
        """Become the writer of the place, unless another process is; whether this one writes it now.

        Raises:
            WorkspaceError: the place cannot be written.
        """
        if self.place.claim():
            self._note("was missing")
        return self.writes

    def hold(self) -> None:
        """As :meth:`claim`, and insist; one that only looks into the place is waited for.

        Raises:
            WorkspaceError: another process is the writer, or the place cannot be written.
        """
        until = time.monotonic() + chroma_folder.PATIENCE
        while not self.claim():
            if time.monotonic() >= until:
                raise self.place.refuse()
            time.sleep(0.05)

    def sync(self, source: Source, exact: bool = False) -> None:
        """Open the place and bring what it has level with ``source``; a broken one is made anew, and noted.

        ``exact``: compare every id, where equal counts do not tell.

        Raises:
            WorkspaceError: the place cannot be written or reached.
        """
        self._source = source
        self.claim()
        self._guarded(lambda: self._open_and_level(exact or self.place.doubtful))

    def add(self, scope: str, texts: Mapping[str, str]) -> None:
        """Take in new experiences of a scope (id -> text). The place has them by the next :meth:`query` or close."""
        self._pending.setdefault(scope, {}).update(texts)
        self._gone.get(scope, set()).difference_update(texts)

    def remove(self, scope: str, ids: Iterable[str]) -> None:
        """Forget experiences of a scope; likewise."""
        for id_ in ids:
            self._pending.get(scope, {}).pop(id_, None)
            if scope not in self._awaited:
                self._gone.setdefault(scope, set()).add(id_)

    def query(self, text: str, scopes: Sequence[str], n: int) -> tuple[Near, ...]:
        """The ``n`` nearest experiences of the scopes, nearest first."""
        return self.near(embed([text])[0], scopes, n)

    def near(self, vector: NDArray[np.float32], scopes: Sequence[str], n: int) -> tuple[Near, ...]:
        """As :meth:`query`, for a text that is embedded already."""
        return self._guarded(lambda: self._query(vector, scopes, n))

    def vectors(self, scope: str) -> tuple[list[str], NDArray[np.float32]]:
        """Ids and unit vectors of a scope, all of them."""
        return self._guarded(lambda: self._all_vectors(scope))

    def count(self) -> int:
        """How many experiences can be found."""
        scopes = self._source.counts() if self._source else {}
        self._guarded(lambda: self._fill(scopes))
        if self.writes:
            self._guarded(self._flush)
        return self._guarded(lambda: sum(self._size(scope) for scope in {*scopes, *self._pending}))

    def rebuild(self) -> int:
        """Make the index anew from the source; how many experiences it holds then.

        Raises:
            WorkspaceError: another process writes it, or it cannot be written.
        """
        if not self.writes:
            raise self.place.refuse()
        self._guarded(self._wipe)
        self._guarded(lambda: self._open_and_level(True))
        return self.count()

    def close(self) -> None:
        """Write what is pending, and let go of the place. May be repeated.

        A server that is away now is not waited for: who opens it next puts there what it lacks.
        """
        level = self._client is not None and self.writes
        try:
            if level:
                self._guarded(self._flush, patient=False)
        except Unreachable as error:
            self.notes.append(f"{error.message}: it gets the last experiences when it is opened again")
        finally:
            self._shut()
            self.place.release(level)

    # Opening and repair

    def _guarded(self, work: Callable[[], T], patient: bool = True) -> T:
        if isinstance(self.place, Server):
            return self._served(self.place, work, chroma_server.PATIENCE if patient and self._reached else 0.0)
        try:
            return work()
        except BaseException as error:  # a panic in Chroma's Rust is no Exception
            if not _broken(error):
                raise
            self._repair(error)
        try:
            self._open_and_level(True)
            return work()
        except BaseException as error:  # as above
            if not _broken(error):
                raise
            raise WorkspaceError(f"cannot write the index {self.place}: {_reason(error)}", "check the folder") from error

    def _served(self, server: Server, work: Callable[[], T], seconds: float) -> T:
        """``work`` on a server: once more where it is refused, as another process may have rebuilt the index; and for as long
        as the server is away, at most so many ``seconds``. What it lost is put back from the source before that.

        Raises:
            Unreachable: it stayed away, never was there, or refused twice.
        """
        patience, refused, tried = Patience(f"the Chroma server {server.url}", seconds), False, not self._reached
        while True:
            try:
                if self._client is None and self._reached:
                    self._open_and_level(True)
                found = work()
                patience.rewarded()
                return found
            except Exception as error:
                gone = away(error)
                if not gone and not _broken(error):
                    raise
                self._shut()
                if tried and patience.over if gone else refused:
                    raise unreachable(server.url, error) from error
                refused, tried = refused or not gone, True  # a server that was started again ends old connections, too
            if gone:
                patience.wait(_EVERY)

    def _repair(self, error: BaseException) -> None:
        if self.writes:
            self._wipe()
        else:
            self._shut()
            self._leave = True
        self._note(f"could not be read ({_reason(error)})")

    def _note(self, what: str) -> None:
        done = "was rebuilt from the store" if self.writes else "is left to the process that writes it"
        self.notes.append(f"the index {self.place} {what}: it {done}")

    def _open_and_level(self, exact: bool) -> None:
        if self._client is None and (self.writes or (self.place.there and not self._leave)):
            self._connect()
        source, held = self._required_source(), self._names
        counts = source.counts()
        self._awaited = {scope for scope in counts if self._name(scope) not in held}
        for scope, count in counts.items():
            if scope not in self._awaited and (exact or self._size(scope) != count):
                self._level(scope, source)
        if self.writes:
            self._flush()

    def _fill(self, scopes: Iterable[str]) -> None:
        """Put into the place what it lacks wholly of ``scopes``."""
        for scope in sorted(self._awaited & set(scopes)):
            self._level(scope, self._required_source())
            self._awaited.discard(scope)

    def _connect(self) -> None:
        self._client = self.place.connect()
        self._reached = True
        self._names.clear()
        for collection in self._client.list_collections():
            if collection.name.startswith(self._prefix()):
                self._names.add(collection.name)
                # Chroma opens without complaint where its vector files are gone; asked for a vector, it complains.
                collection.get(limit=1, include=["embeddings"])
            elif self.writes and isinstance(self.place, Folder):  # of another store, or another embedder
                self._client.delete_collection(collection.name)

    def _level(self, scope: str, source: Source) -> None:
        collection = self._collection(scope)
        held = set() if collection is None else set(collection.get(include=[])["ids"])
        wanted = source.ids(scope)
        missing = sorted(wanted - held - set(self._pending.get(scope, ())))
        for i in range(0, len(missing), _BATCH):
            self.add(scope, source.texts(missing[i : i + _BATCH]))
            if self.writes:
                self._flush()
        self.remove(scope, held - wanted)

    def _wipe(self) -> None:
        if isinstance(self.place, Server) and self._client is not None:
            for collection in self._client.list_collections():
                if collection.name.startswith(self._prefix()):
                    self._client.delete_collection(collection.name)
        self._shut()
        self.place.wipe()

    def _shut(self) -> None:
        self._collections.clear()
        self._names.clear()
        if self._client is not None:
            client, self._client = self._client, None
            client.close()

    # Collections

    def _required_source(self) -> Source:
        assert self._source is not None, "sync() comes first"
        return self._source

    def _prefix(self) -> str:
        return f"k{digest(self._required_source().identity, EMBEDDER)[:12]}-"

    def _name(self, scope: str) -> str:
        return f"{self._prefix()}{digest(scope)}"

    def _collection(self, scope: str) -> Any:
        """The scope's collection; None where this process may not make it."""
        if scope not in self._collections and self._client is not None:
            from chromadb.errors import NotFoundError

            name = self._name(scope)
            try:
                self._collections[scope] = self._client.get_collection(name, embedding_function=None)
            except NotFoundError:
                if not self.writes:
                    return None
                self._collections[scope] = self._client.get_or_create_collection(
                    name, configuration=_CONFIGURATION, embedding_function=None
                )
                self._names.add(name)
        return self._collections.get(scope)

    def _size(self, scope: str) -> int:
        collection = self._collection(scope)
        stored = collection.count() if collection is not None else 0
        return stored + len(self._pending.get(scope, ())) - len(self._gone.get(scope, ()))

    def _flush(self) -> None:
        for scope in [s for s, gone in self._gone.items() if gone]:
            ids = sorted(self._gone.pop(scope))
            for i in range(0, len(ids), _BATCH):
                self._collection(scope).delete(ids=ids[i : i + _BATCH])
        for scope in [s for s, pending in self._pending.items() if pending]:
            rows = list(self._pending[scope].items())
            for i in range(0, len(rows), _BATCH):
                part = rows[i : i + _BATCH]
                vectors = embed([text for _, text in part])
                self._collection(scope).upsert(ids=[item for item, _ in part], embeddings=vectors)
            del self._pending[scope]

    def _all_vectors(self, scope: str) -> tuple[list[str], NDArray[np.float32]]:
        import numpy as np

        self._fill([scope])
        if self.writes:
            self._flush()
        pending, gone = self._pending.get(scope, {}), self._gone.get(scope, set())
        ids, parts = list(pending), [embed(list(pending.values()))] if pending else []
        collection = self._collection(scope)
        for offset in range(0, collection.count() if collection is not None else 0, _BATCH):
            found = collection.get(limit=_BATCH, offset=offset, include=["embeddings"])
            kept = [n for n, id_ in enumerate(found["ids"]) if id_ not in gone and id_ not in pending]
            ids += [found["ids"][n] for n in kept]
            parts.append(np.asarray(found["embeddings"], dtype=np.float32)[kept])
        return ids, np.concatenate(parts) if parts else np.zeros((0, DIMENSIONS), dtype=np.float32)

    def _query(self, vector: NDArray[np.float32], scopes: Sequence[str], n: int) -> tuple[Near, ...]:
        self._fill(scopes)
        if self.writes:
            self._flush()
        near: dict[str, float] = {}
        for scope in scopes:
            collection = self._collection(scope)
            if collection is not None:
                found = collection.query(query_embeddings=[vector], n_results=n, include=["distances"])
                near.update(zip(found["ids"][0], (1.0 - d for d in found["distances"][0]), strict=True))
            if pending := self._pending.get(scope):
                near.update(zip(pending, (embed(list(pending.values())) @ vector).tolist(), strict=True))
        hidden = set[str]().union(*(self._gone.get(scope, set()) for scope in scopes))
        ranked = sorted(((i, s) for i, s in near.items() if i not in hidden), key=lambda pair: (-pair[1], pair[0]))
        return tuple(Near(item, similarity) for item, similarity in ranked[:n])


def _broken(error: BaseException) -> bool:
    from chromadb.errors import ChromaError

    return isinstance(error, (ChromaError, sqlite3.Error)) or type(error).__name__ == "PanicException"


def _reason(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]

"""Nearest experiences by embedding: Chroma on a folder. It may lag behind the store, and can be rebuilt from it.

One collection a scope instead of a metadata filter: Chroma answers a filter in time linear in what matches (20 ms at
10,000 rows against 2 ms without), and recall has 30 ms at 100,000. The folder holds a pickle: never open an untrusted
one.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from kernelwright.memory.embed import EMBEDDER, embed
from kernelwright.tasks.errors import WorkspaceError
from kernelwright.tasks.records import digest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")

_BATCH = 1000
_failed: Counter[Path] = Counter()
"""Chroma keeps a client a spelling of the path for the whole process, a broken one too: after a failure, spell anew."""
_CONFIGURATION = {"hnsw": {"space": "cosine", "ef_search": 200}}


class Source(Protocol):
    """What an index is made from: the store's experiences."""

    @property
    def identity(self) -> str:
        """Names the store: vectors of another one are dropped."""
        ...

    def counts(self) -> Mapping[str, int]:
        """Scope -> how many experiences there ever were: they are added and never taken away, so that counts tell."""
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

    One process writes the folder. Another that opens it meanwhile reads it and keeps what it lacks in its own memory,
    so that each sees all that was there when it started and all that it learned itself.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: list[str] = []
        """What had to be repaired, a line each; the reader takes them away."""
        self._source: Source | None = None
        self._client: Any = None
        self._lock: int | None = None
        self._leave = False
        """The folder cannot be read, and another process writes it: do without."""
        self._collections: dict[str, Any] = {}
        self._pending: dict[str, dict[str, str]] = {}
        """Scope -> id -> text of what the folder does not have yet."""

    @property
    def writes(self) -> bool:
        """Whether this is the process that writes the folder."""
        return self._lock is not None

    def sync(self, source: Source) -> None:
        """Open the folder and bring it level with ``source``; a broken one is made anew, and noted.

        Raises:
            WorkspaceError: the folder cannot be written.
        """
        self._source = source
        self._take_lock()
        self._guarded(self._open_and_level)

    def add(self, scope: str, texts: Mapping[str, str]) -> None:
        """Take in new experiences of a scope (id -> text). The folder has them by the next :meth:`query` or close."""
        self._pending.setdefault(scope, {}).update(texts)

    def query(self, text: str, scopes: Sequence[str], n: int) -> tuple[Near, ...]:
        """The ``n`` nearest experiences of the scopes, nearest first."""
        vector = embed([text])[0]
        return self._guarded(lambda: self._query(vector, scopes, n))

    def count(self) -> int:
        """How many experiences can be found."""
        scopes = self._source.counts() if self._source else {}
        return self._guarded(lambda: sum(self._size(scope) for scope in {*scopes, *self._pending}))

    def rebuild(self) -> int:
        """Make the folder anew from the source; how many experiences it holds then.

        Raises:
            WorkspaceError: another process writes it, or it cannot be written.
        """
        if not self.writes:
            raise WorkspaceError(f"another process writes the index {self.path}", "wait for it to end")
        self._wipe()
        self._guarded(self._open_and_level)
        return self.count()

    def close(self) -> None:
        """Write what is pending, and let go of the folder. May be repeated."""
        if self._client is not None and self.writes:
            self._guarded(self._flush)
        self._shut()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # Opening and repair

    def _guarded(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except BaseException as error:  # a panic in Chroma's Rust is no Exception
            if not _broken(error):
                raise
            self._wipe_or_leave()
            self._note(f"could not be read ({_reason(error)})")
        try:
            self._open_and_level()
            return work()
        except BaseException as error:  # as above
            if not _broken(error):
                raise
            raise WorkspaceError(f"cannot write the index {self.path}: {_reason(error)}", "check the folder") from error

    def _note(self, what: str) -> None:
        done = "was rebuilt from the store" if self.writes else "is left to the process that writes it"
        self.notes.append(f"the index {self.path} {what}: it {done}")

    def _take_lock(self) -> None:
        if self._lock is not None:
            return
        lock = self.path.with_name(self.path.name + ".lock")
        known = lock.exists()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise WorkspaceError(f"cannot write {lock}: {error.strerror}", "give a writable --home") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
        except OSError:  # a file system without locks: nobody can be kept out, so write as if alone
            self._lock = handle
        else:
            self._lock = handle
        if known and not self.path.exists():
            self._note("was missing")

    def _open_and_level(self) -> None:
        if self._client is None:
            self._open()
        source = self._required_source()
        for scope, count in source.counts().items():
            if self._size(scope) != count:
                self._level(scope, source)
        if self.writes:
            self._flush()

    def _open(self) -> None:
        if not self.writes:
            if self.path.is_dir() and not self._leave:
                self._connect()
            return
        # Chroma aborts the process on some damaged files: what can be seen beforehand is, and a death here is remembered.
        marker = self.path.with_name(self.path.name + ".opening")
        if marker.exists():
            marker.unlink()
            raise sqlite3.DatabaseError("the last process that opened it died of it")
        _check_tables(self.path / "chroma.sqlite3")
        marker.touch()
        try:
            self._connect()
        finally:
            marker.unlink()

    def _connect(self) -> None:
        import chromadb
        from chromadb.config import Settings

        spelling = str(self.path) + "/." * _failed[self.path]
        _failed[self.path] += 1
        self._client = chromadb.PersistentClient(spelling, Settings(anonymized_telemetry=False))
        _failed[self.path] -= 1
        for collection in self._client.list_collections():
            if collection.name.startswith(self._prefix()):
                # Chroma opens without complaint where its vector files are gone; asked for a vector, it complains.
                collection.get(limit=1, include=["embeddings"])
            elif self.writes:
                self._client.delete_collection(collection.name)

    def _level(self, scope: str, source: Source) -> None:
        collection = self._collection(scope)
        wanted = source.ids(scope)
        held = set() if collection is None else set(collection.get(include=[])["ids"])
        missing = sorted(wanted - held - set(self._pending.get(scope, ())))
        for i in range(0, len(missing), _BATCH):
            self.add(scope, source.texts(missing[i : i + _BATCH]))
            if self.writes:
                self._flush()
        extra = sorted(held - wanted)
        for i in range(0, len(extra) if self.writes else 0, _BATCH):
            collection.delete(ids=extra[i : i + _BATCH])

    def _wipe_or_leave(self) -> None:
        if self.writes:
            self._wipe()
        else:
            self._shut()
            self._leave = True

    def _wipe(self) -> None:
        self._shut()
        try:
            if self.path.is_dir() and not self.path.is_symlink():
                shutil.rmtree(self.path)
            else:
                self.path.unlink(missing_ok=True)
        except OSError as error:
            raise WorkspaceError(f"cannot replace {self.path}: {error.strerror}", "give a writable --home") from error

    def _shut(self) -> None:
        self._collections.clear()
        if self._client is not None:
            self._client.close()
            self._client = None

    # Collections

    def _required_source(self) -> Source:
        assert self._source is not None, "sync() comes first"
        return self._source

    def _prefix(self) -> str:
        return f"k{digest(self._required_source().identity, EMBEDDER)[:12]}-"

    def _collection(self, scope: str) -> Any:
        """The scope's collection; None where this process may not make it."""
        if scope not in self._collections and self._client is not None:
            from chromadb.errors import NotFoundError

            name = f"{self._prefix()}{digest(scope)}"
            try:
                self._collections[scope] = self._client.get_collection(name, embedding_function=None)
            except NotFoundError:
                if not self.writes:
                    return None
                self._collections[scope] = self._client.create_collection(
                    name, configuration=_CONFIGURATION, embedding_function=None
                )
        return self._collections.get(scope)

    def _size(self, scope: str) -> int:
        collection = self._collection(scope)
        return (collection.count() if collection is not None else 0) + len(self._pending.get(scope, ()))

    def _flush(self) -> None:
        for scope in [s for s, pending in self._pending.items() if pending]:
            rows = list(self._pending[scope].items())
            for i in range(0, len(rows), _BATCH):
                part = rows[i : i + _BATCH]
                vectors = embed([text for _, text in part])
                self._collection(scope).upsert(ids=[item for item, _ in part], embeddings=vectors)
            del self._pending[scope]

    def _query(self, vector: NDArray[np.float32], scopes: Sequence[str], n: int) -> tuple[Near, ...]:
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
        ranked = sorted(near.items(), key=lambda pair: (-pair[1], pair[0]))
        return tuple(Near(item, similarity) for item, similarity in ranked[:n])


def _check_tables(file: Path) -> None:
    if file.is_file():
        with closing(sqlite3.connect(file)) as database:
            try:
                database.execute("SELECT name, sql FROM sqlite_master").fetchall()
            except UnicodeDecodeError as error:
                raise sqlite3.DatabaseError("its tables are scrambled") from error


def _broken(error: BaseException) -> bool:
    from chromadb.errors import ChromaError

    return isinstance(error, (ChromaError, sqlite3.Error)) or type(error).__name__ == "PanicException"


def _reason(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]

"""Nearest experiences by embedding: Chroma on a folder, one collection a scope. It may lag behind the store; it can be rebuilt.

A collection a scope instead of one with a metadata filter: Chroma answers a filter in time linear in what matches (20 ms at
10,000 rows against 2 ms), and recall's figure is for 100,000. The folder holds a pickle: never open an untrusted one.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
from collections.abc import Callable, Mapping, Sequence
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
_PROBE = 1000
"""Chroma keeps at most this many vectors outside its files: fewer answers than that mean that files are gone."""
_SPACE = {"hnsw": {"space": "cosine", "ef_search": 200}}


class Source(Protocol):
    """What an index is made from: the store's experiences."""

    @property
    def identity(self) -> str:
        """Names the store: an index made from another one is rebuilt."""
        ...

    def counts(self) -> Mapping[str, int]:
        """Scope -> how many experiences."""
        ...

    def ids(self, scope: str) -> set[str]:
        """Their ids."""
        ...

    def texts(self, ids: Sequence[str]) -> Mapping[str, str]:
        """id -> the text to embed."""
        ...


@dataclass(frozen=True)
class Near:
    """A neighbour, and its cosine similarity."""

    id: str
    similarity: float


class Index:
    """Vectors of a store's experiences. Opened by :meth:`sync`; not for several threads.

    One process writes a folder. Another one that opens it meanwhile reads, and keeps what the folder lacks in its own
    memory, so that both see everything that they learned themselves.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._client: Any = None
        self._lock: int | None = None
        self._collections: dict[str, Any] = {}
        self._pending: dict[str, dict[str, NDArray[np.float32]]] = {}

    def sync(self, source: Source) -> str:
        """Open the index and bring it level with the store; says in one line what had to be repaired, else nothing.

        Raises:
            WorkspaceError: the folder cannot be written.
        """
        had = self.path.exists()
        self._take_lock()
        note = "" if had or not sum(source.counts().values()) else "made"
        try:
            self._open(source)
        except _broken() as error:
            note = f"unreadable ({_first_line(error)})"
            if self._lock is not None:
                self._wipe()
                self._open(source)
        for scope, count in source.counts().items():
            if self.count(scope) != count or note:
                self._level(source, scope)
        if self._lock is not None:
            self.flush()
        if not note or note == "made":
            return ""
        return f"the experience index {self.path} was {note}; it was rebuilt from the store"

    def rebuild(self, source: Source) -> int:
        """Make the index anew from the store; how many experiences it holds now.

        Raises:
            WorkspaceError: another process writes it, or the folder cannot be written.
        """
        self._take_lock()
        if self._lock is None:
            raise WorkspaceError(f"another process writes the index {self.path}", "wait for it to end")
        self._wipe()
        self.sync(source)
        return sum(self.count(scope) for scope in source.counts())

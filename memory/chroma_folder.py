"""The embedded index: a folder that one process at a time writes.

The writer holds a lock that goes with its process. Another process may read the folder as it stands, which is what it held
when it was opened: good for one look, not for a loop that learns. The folder holds a pickle: never open an untrusted one.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from kernelwright.tasks.errors import WorkspaceError

_failed: Counter[Path] = Counter()
"""Chroma keeps a client a spelling of the path for the whole process, a broken one too: after a failure, spell anew."""
PATIENCE = 2.0
"""Seconds that a process which must write waits for another one: a listing lets go of the folder that soon."""
SHARE = "wait for it, give another --home, or share one memory through a Chroma server and PostgreSQL (docs/memory.md)"


class Folder:
    """Chroma's files at ``path``; with ``.lock`` (who writes), ``.dirty`` (a writer works or was killed), ``.opening``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None
        self.doubtful = False
        """Whether the last writer was killed: what the folder holds must then be compared id by id."""

    def __str__(self) -> str:
        return str(self.path)

    @property
    def writes(self) -> bool:
        """Whether this is the process that writes the folder."""
        return self._lock is not None

    @property
    def there(self) -> bool:
        """Whether there is anything to read."""
        return self.path.is_dir()

    def claim(self) -> bool:
        """Become the writer, unless another process is. Whether the folder was made before and is gone.

        Raises:
            WorkspaceError: the place cannot be written.
        """
        if self._lock is not None:
            return False
        lock = self._beside("lock")
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
            return False
        except OSError:  # a file system without locks: nobody can be kept out, so write as if alone
            pass
        self._lock = handle
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        self.doubtful = self._beside("dirty").exists()
        return known and not self.path.exists()

    def refuse(self) -> WorkspaceError:
        """The error for a process that must write and cannot: who does."""
        try:
            owner = self._beside("lock").read_text(encoding="ascii", errors="replace").strip()[:20]
        except OSError:
            owner = ""
        who = f"another process ({owner})" if owner else "another process"
        return WorkspaceError(f"{who} is writing the memory at {self.path.parent}", SHARE)

    def connect(self) -> Any:
        """A client of the folder; a damaged one raises what Chroma or SQLite says."""
        if not self.writes:
            return self._client()
        # Chroma aborts the process on some damaged files: what can be seen beforehand is, and a death here is remembered.
        marker = self._beside("opening")
        if marker.exists():
            marker.unlink()
            raise sqlite3.DatabaseError("the last process that opened it died of it")
        _check_tables(self.path / "chroma.sqlite3")
        marker.touch()
        try:
            client = self._client()
        finally:
            marker.unlink()
        self._beside("dirty").touch()
        return client

    def wipe(self) -> None:
        """Take the folder away, whatever stands there."""
        try:
            if self.path.is_dir() and not self.path.is_symlink():
                shutil.rmtree(self.path)
            else:
                self.path.unlink(missing_ok=True)
        except OSError as error:
            raise WorkspaceError(f"cannot replace {self.path}: {error.strerror}", "give a writable --home") from error

    def release(self, level: bool) -> None:
        """Let go of the folder; ``level``: all that the store holds was written. May be repeated."""
        if self._lock is None:
            return
        if level:
            self._beside("dirty").unlink(missing_ok=True)
        os.close(self._lock)
        self._lock = None

    def _beside(self, what: str) -> Path:
        return self.path.with_name(f"{self.path.name}.{what}")

    def _client(self) -> Any:
        import chromadb
        from chromadb.config import Settings

        spelling = str(self.path) + "/." * _failed[self.path]
        _failed[self.path] += 1
        client = chromadb.PersistentClient(spelling, Settings(anonymized_telemetry=False))
        _failed[self.path] -= 1
        return client


def _check_tables(file: Path) -> None:
    if file.is_file():
        with closing(sqlite3.connect(file)) as database:
            try:
                database.execute("SELECT name, sql FROM sqlite_master").fetchall()
            except UnicodeDecodeError as error:
                raise sqlite3.DatabaseError("its tables are scrambled") from error

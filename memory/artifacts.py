"""Content-addressed files: sources, prompts and answers by their SHA-256."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kernelwright.tasks.errors import WorkspaceError

HASH = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
"""A hash in a text."""

_PART = ".new-"
"""How the name of a file begins that is not whole yet."""


@dataclass(frozen=True)
class Swept:
    """What :meth:`Artifacts.sweep` took away, or would have."""

    files: int = 0
    bytes: int = 0
    kept: int = 0
    """Artifacts that are referred to."""
    young: int = 0
    """Artifacts that nothing refers to yet and that were put too lately to be sure."""


class Artifacts:
    """Files under ``root``, named by their content, in 256 folders.

    A file appears by rename, so that a reader never sees half of one; writing the same content twice writes once. The time of
    a file is that of its last :meth:`put`.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, sha: str) -> Path:
        """Where the content with this hash is, or would be."""
        return self.root / sha[:2] / sha[2:]

    def put(self, content: str | bytes) -> str:
        """Keep ``content`` and return its SHA-256 in hexadecimal.

        Raises:
            WorkspaceError: the folder cannot be written.
        """
        raw = _raw(content)
        sha = hash_of(raw)
        path = self.path(sha)
        try:
            with self._locked(fcntl.LOCK_SH):
                if path.is_file() and path.stat().st_size == len(raw):
                    os.utime(path)  # a sweep at work in another process sees that it is wanted again
                else:
                    _write(path, raw)
        except OSError as error:
            raise WorkspaceError(
                f"cannot write {path}: {error.strerror or error}", "free space or give a writable --home"
            ) from error
        return sha

    def get(self, sha: str) -> bytes:
        """The content with this hash.

        Raises:
            WorkspaceError: it is not there, or no longer what its name says.
        """
        raw = self.find(sha)
        if raw is None:
            raise WorkspaceError(f"no artifact {sha} under {self.root}", "give the --home that belongs to the store")
        return raw

    def text(self, sha: str) -> str:
        """As :meth:`get`, as text."""
        return self.get(sha).decode("utf-8", "surrogatepass")

    def find(self, sha: str) -> bytes | None:
        """As :meth:`get`, but None when it is not there: a shared store may point at another machine's files."""
        path = self.path(sha)
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise WorkspaceError(f"cannot read {path}: {error.strerror or error}", "check its permissions") from error
        if hashlib.sha256(raw).hexdigest() != sha:
            raise WorkspaceError(f"{path} is damaged: its content has another hash", "restore it from a backup")
        return raw

    def sweep(self, referred: Collection[str], before: float, *, dry: bool = False) -> Swept:
        """Delete what ``referred`` (hashes) does not name and was last put before ``before`` (seconds since the epoch).

        Safe beside processes that put: what is put again while this works stays. ``dry`` only counts. Parts of files that a
        killed process left are swept, too; anything else under ``root`` is left alone.

        Raises:
            WorkspaceError: something cannot be deleted.
        """
        files = size = kept = young = 0
        for path in sorted(self.root.glob("[0-9a-f][0-9a-f]/*")):
            sha = path.parent.name + path.name
            if not path.name.startswith(_PART) and not HASH.fullmatch(sha):
                continue
            if sha in referred:
                kept += 1
            elif (freed := self._remove(path, before, dry)) is None:
                young += 1
            else:
                files, size = files + 1, size + freed
        return Swept(files, size, kept, young)

    def _remove(self, path: Path, before: float, dry: bool) -> int | None:
        """Delete one file and return its size, or None where it is too young."""
        try:
            with self._locked(fcntl.LOCK_EX):  # nobody is between looking whether it is there and marking it as wanted
                status = path.stat()
                if status.st_mtime >= before:
                    return None
                if not dry:
                    path.unlink()
                return status.st_size
        except FileNotFoundError:  # another sweep was first
            return None
        except OSError as error:
            raise WorkspaceError(f"cannot delete {path}: {error.strerror}", "check its permissions") from error

    @contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "lock").open("a") as file:
            fcntl.flock(file, how)
            yield


def hash_of(content: str | bytes) -> str:
    """The SHA-256 that ``content`` is kept under, in hexadecimal."""
    return hashlib.sha256(_raw(content)).hexdigest()


def _raw(content: str | bytes) -> bytes:
    return content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content


def _write(path: Path, raw: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=_PART)
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(raw)
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise

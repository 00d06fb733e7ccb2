"""Content-addressed files: sources, prompts and answers by their SHA-256."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from kernelwright.tasks.errors import WorkspaceError


class Artifacts:
    """Files under ``root``, named by their content, in 256 folders.

    A file appears by rename, so that a reader never sees half of one; writing the same content twice writes once.
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
            if not (path.is_file() and path.stat().st_size == len(raw)):
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


def hash_of(content: str | bytes) -> str:
    """The SHA-256 that ``content`` is kept under, in hexadecimal."""
    return hashlib.sha256(_raw(content)).hexdigest()


def _raw(content: str | bytes) -> bytes:
    return content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content


def _write(path: Path, raw: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(raw)
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise

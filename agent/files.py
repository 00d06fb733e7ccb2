"""Files that are whole or absent, whenever the process is killed."""

from __future__ import annotations

import os
from pathlib import Path

from kernelwright.tasks.errors import WorkspaceError


def write_text(path: Path, text: str) -> None:
    """Write ``path`` atomically, folders included.

    Raises:
        WorkspaceError: the place cannot be written.
    """
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """As :func:`write_text`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        remedy = "free space, or choose another folder (--home, --out)"
        raise WorkspaceError(f"{path} cannot be written: {error.strerror}", remedy) from error

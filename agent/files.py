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
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        part.write_text(text, encoding="utf-8", newline="")
        part.replace(path)
    except OSError as error:
        raise WorkspaceError(f"{path} cannot be written: {error.strerror}", "free space, or choose another --home") from error

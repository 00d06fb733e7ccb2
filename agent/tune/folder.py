"""The folder that a tuning leaves its result in: what may stand there before, and how the new takes its place."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kernelwright.tasks.errors import InputError

_OURS = frozenset(
    ("__init__.py", "__pycache__", "_runtime", "kernels", "inputs.pt", "manifest.json", "report.json", "report.md")
)


def check_out(folder: Path, home: Path) -> None:
    """Refuse a folder that a result cannot go to; nothing is changed.

    Raises:
        InputError: it lies in the workspace ``home``, is a file, holds what is not an earlier result, or cannot be written.
    """
    if folder.resolve() == home.resolve() or home.resolve() in folder.resolve().parents:
        raise InputError(
            f"--out is {str(folder)!r}, inside the workspace {home}; a folder outside of it is expected",
            "give another --out, or another --home",
        )
    check_replaceable(folder)
    parent = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    probe = parent / f".probe-{secrets.token_hex(4)}"
    try:
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise InputError(
            f"--out is {str(folder)!r}: {parent} cannot be written ({error.strerror})", "give another --out"
        ) from error


def check_replaceable(folder: Path) -> None:
    """Refuse a folder that holds anything but an earlier result.

    Raises:
        InputError: there are other files in it, or it is none.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out is {str(folder)!r}, a file; a folder is expected", "give another --out")
    held = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    strange = sorted(held - _OURS)
    if strange or (held and not _manifest(folder)):
        what = f"holds {strange[0]!r}" if strange else "is not empty and holds no result of tune"
        raise InputError(
            f"--out is {str(folder)!r}, which {what}; a new folder, or that of an earlier result, is expected",
            "give another folder with --out",
        )


@contextmanager
def replaced(folder: Path) -> Iterator[Path]:
    """A new folder beside ``folder``, which takes its place once all is written; until then the earlier result stands.

    Raises:
        InputError: ``folder`` holds what is not an earlier result.
    """
    check_replaceable(folder)
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = folder.parent / f".{folder.name}-{secrets.token_hex(4)}"
    made.mkdir()
    try:
        yield made
        if folder.exists():
            shutil.rmtree(folder)
        made.replace(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _manifest(folder: Path) -> bool:
    try:
        found = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and "kernelwright" in found

"""The exchange folder: one folder an idea with its prompt, and the answer once somebody has put it down.

Reads and writes files only: no store, no evaluator. Whoever can write the folder can answer in anybody's place.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernelwright.agent.files import write_text
from kernelwright.tasks.errors import InputError, UnknownName

MOST_BYTES = 1_000_000
"""Of one answer: a kernel and what its writer says of it are far smaller."""


@dataclass(frozen=True)
class Sheet:
    """One idea's folder: ``prompt.md`` and ``meta.json`` from us, ``answer.md`` from whoever answers."""

    id: str
    folder: Path

    @property
    def prompt(self) -> Path:
        return self.folder / "prompt.md"

    @property
    def answer(self) -> Path:
        return self.folder / "answer.md"

    @property
    def answered(self) -> bool:
        """Whether an answer with any text is there; an empty file is one that is still being written."""
        return self.answer.is_file() and bool(self.answer.read_bytes().strip())

    @property
    def run(self) -> str:
        """The run that asked: the id but for the task's six digits and the number."""
        return self.id.rsplit("-", 2)[0]

    def meta(self) -> dict[str, Any]:
        """``id``, ``idea``, ``task`` and ``backend``; empty where the file is not there or not ours."""
        try:
            found = json.loads((self.folder / "meta.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def sheets(root: Path, run: str | None = None) -> tuple[Sheet, ...]:
    """All ideas that were ever sent out, of one run or of all, oldest first."""
    found = [Sheet(p.name, p) for p in root.glob("*") if (p / "prompt.md").is_file()]
    ordered = sorted(found, key=lambda s: (s.prompt.stat().st_mtime_ns, s.id))
    return tuple(sheet for sheet in ordered if run is None or sheet.run == run)


def sheet_of(root: Path, idea: str) -> Sheet:
    """The sheet of ``idea``.

    Raises:
        UnknownName: no such idea was sent out; the message names those that wait.
    """
    known = {sheet.id: sheet for sheet in sheets(root)}  # not root / idea: an id is never taken for a path
    if idea not in known:
        waiting = [s.id for s in known.values() if not s.answered]
        raise UnknownName(f"unknown idea {idea!r}", f"waiting for an answer: {', '.join(waiting) or 'none'}")
    return known[idea]


def put_down(root: Path, idea: str, answer: bytes, *, replace: bool = False, source: str = "the answer") -> Sheet:
    """Put ``answer`` down as the answer to ``idea``; ``source`` says in messages where it came from.

    Two answers at once: one of them is put down, the other is refused.

    Raises:
        InputError: no such idea, an empty, unreadable or far too long answer, or an idea that is answered already.
    """
    sheet = sheet_of(root, idea)
    try:
        text = answer.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{source} is not UTF-8 text: {error}", "save the answer as UTF-8") from error
    if not text.strip():
        raise InputError(f"{source} is empty", "write the answer into it: the form is at the end of the prompt")
    if len(answer) > MOST_BYTES:
        raise InputError(f"{source} has {len(answer):,} bytes, more than {MOST_BYTES:,}", "answer with the kernel alone")
    if replace or (sheet.answer.exists() and not sheet.answered):  # an empty file holds nobody's answer
        write_text(sheet.answer, text)
    elif not _put_first(sheet, text):
        raise InputError(f"idea {idea} is answered already", "resume its run, or replace the answer with --replace")
    return sheet


def _put_first(sheet: Sheet, text: str) -> bool:
    """Write the answer unless one is there; whole or not at all. Whether it was written."""
    fresh = sheet.folder / f".answer.{os.urandom(4).hex()}"
    write_text(fresh, text)
    try:
        os.link(fresh, sheet.answer)  # fails where the name is taken, also by another process this moment
    except FileExistsError:
        return False
    finally:
        fresh.unlink()
    return True

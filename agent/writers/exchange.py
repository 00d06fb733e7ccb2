"""Prompts out as files, answers in as files: for people, coding agents and air-gapped sites."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kernelwright.agent.files import write_text
from kernelwright.tasks.codec import to_json
from kernelwright.tasks.errors import InputError, Pending, UnknownName
from kernelwright.tasks.records import Answer

if TYPE_CHECKING:  # `kernelwright exchange list` reads a folder and needs neither store nor evaluator
    from kernelwright.agent.writers.writer import Assignment, Setup


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


def sheets(root: Path) -> tuple[Sheet, ...]:
    """All ideas that were ever sent out, oldest first."""
    found = [Sheet(p.name, p) for p in root.glob("*") if (p / "prompt.md").is_file()]
    return tuple(sorted(found, key=lambda s: (s.prompt.stat().st_mtime_ns, s.id)))


def submit(root: Path, idea: str, file: Path, *, replace: bool = False) -> Sheet:
    """Put the text of ``file`` down as the answer to ``idea``.

    Raises:
        InputError: no such idea or file, an empty or unreadable file, or an idea that is answered already.
    """
    known = {sheet.id: sheet for sheet in sheets(root)}
    if idea not in known:
        open_ = [s.id for s in known.values() if not s.answered]
        raise UnknownName(f"unknown idea {idea!r}", f"waiting for an answer: {', '.join(open_) or 'none'}")
    try:
        text = file.read_bytes().decode("utf-8")
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}", "give the file that holds the answer") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not UTF-8 text: {error}", "save the answer as UTF-8") from error
    if not text.strip():
        raise InputError(f"{file} is empty", "write the answer into it: the form is at the end of the prompt")
    sheet = known[idea]
    if sheet.answered and not replace:
        raise InputError(f"idea {idea} is answered already", "resume its run, or replace the answer with --replace")
    write_text(sheet.answer, text)
    return sheet


class Exchange:
    """Writes each prompt to ``<home>/exchange/<idea id>/`` and reads the answer once it is there."""

    def __init__(self, setup: Setup) -> None:
        self.name = "exchange"
        self._root = setup.home / "exchange"

    def write(self, assignment: Assignment) -> Answer:
        from kernelwright.agent.answer import read_answer
        from kernelwright.agent.prompt import build_prompt

        sheet = Sheet(assignment.idea.id, self._root / assignment.idea.id)
        if not sheet.prompt.is_file():
            meta = {"idea": to_json(assignment.idea), "task": assignment.task.name, "backend": assignment.backend}
            write_text(sheet.folder / "meta.json", json.dumps({"id": sheet.id, **meta}, indent=1) + "\n")
            write_text(sheet.prompt, build_prompt(assignment))
        if not sheet.answered:
            raise Pending(f"idea {sheet.id} waits for {sheet.answer}", "answer it, then `kernelwright resume` its run")
        text = sheet.answer.read_bytes().decode("utf-8", errors="replace")
        start = assignment.context.start
        source = start.answer.kernel.source if start is not None and start.answer.kernel is not None else None
        kernel, problem, strategy = read_answer(text, assignment.backend, source)
        prompt = sheet.prompt.read_bytes().decode("utf-8")
        return Answer(text, kernel, problem, strategy, model=_signed(text), prompt=prompt, cost_usd=0.0)

    def close(self) -> None:
        return None


def _signed(text: str) -> str:
    """Who answered, if the answer says so in a line ``Model: name``; else ``exchange``."""
    found = re.search(r"^model:[ \t]*(\S[^\n]{0,80})$", text, re.IGNORECASE | re.MULTILINE)
    return f"exchange: {found.group(1).strip()}" if found else "exchange"

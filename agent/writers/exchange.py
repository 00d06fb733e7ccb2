"""Prompts out as files, answers in as files: for people, coding agents and air-gapped sites."""

from __future__ import annotations

import json
import re
import time

from kernelwright.agent.answer.read import read_for
from kernelwright.agent.exchange.sheets import Sheet
from kernelwright.agent.files import write_text
from kernelwright.agent.prompt.build import build_prompt
from kernelwright.agent.writers.writer import Assignment, Setup
from kernelwright.tasks.codec import to_json
from kernelwright.tasks.errors import BudgetSpent, Pending
from kernelwright.tasks.records import Answer, Attempt

POLL_SECONDS = 0.5
"""How often a waiting writer looks; an answer is taken once it has not changed between two looks."""


class Exchange:
    """Writes each prompt to ``<home>/exchange/<idea id>/`` and reads the answer once it is there.

    With ``Setup.wait`` it stays until somebody has answered or the run is being left; otherwise the idea is left to
    wait, and ``kernelwright resume`` reads the answer. A waiting writer cannot tell a file that is still being written,
    and not touched for :data:`POLL_SECONDS`, from one that is done: ``exchange submit`` puts it down in one piece.
    """

    def __init__(self, setup: Setup) -> None:
        self.name = "exchange"
        self._setup = setup
        self._root = setup.home / "exchange"

    def write(self, assignment: Assignment) -> Answer:
        sheet = Sheet(assignment.idea.id, self._root / assignment.idea.id)
        if not sheet.prompt.is_file():
            meta = {"idea": to_json(assignment.idea), "task": assignment.task.name, "backend": assignment.backend}
            write_text(sheet.folder / "meta.json", json.dumps({"id": sheet.id, **meta}, indent=1) + "\n")
            write_text(sheet.prompt, build_prompt(assignment, self._setup.prompt_tokens))
        if not (self._came(sheet) if self._setup.wait else sheet.answered):
            raise Pending(f"idea {sheet.id} waits for {sheet.answer}", "answer it, then `kernelwright resume` its run")
        text = sheet.answer.read_bytes().decode("utf-8", errors="replace")
        kernel, problem, strategy = read_for(assignment, text)
        prompt = sheet.prompt.read_bytes().decode("utf-8")
        return Answer(text, kernel, problem, strategy, model=_signed(text), prompt=prompt, cost_usd=0.0)

    def told(self, attempt: Attempt) -> None:
        return None

    def close(self) -> None:
        return None

    def _came(self, sheet: Sheet) -> bool:
        """Wait for the answer; False where the run is being left first.

        Raises:
            BudgetSpent: the run's time is over; nobody is to answer this prompt any more.
        """
        seen: tuple[int, int] | None = None
        while (now := _state(sheet)) is None or now != seen:
            if self._setup.stopping():
                return False
            over = self._setup.ledger.left() if self._setup.ledger is not None and now is None else None
            if over is not None:
                sheet.prompt.rename(sheet.folder / "withdrawn.md")
                raise BudgetSpent(over, f"idea {sheet.id} needs no answer any more")
            seen = now
            time.sleep(POLL_SECONDS)
        return True


def _state(sheet: Sheet) -> tuple[int, int] | None:
    """What changes whenever the answer does; None where there is none, or it was taken away this moment."""
    try:
        found = sheet.answer.stat() if sheet.answered else None
    except FileNotFoundError:
        return None
    return None if found is None else (found.st_mtime_ns, found.st_size)


def _signed(text: str) -> str:
    """Who answered, if the answer says so in a line ``Model: name``; else ``exchange``."""
    found = re.search(r"^model:[ \t]*(\S[^\n]{0,80})$", text, re.IGNORECASE | re.MULTILINE)
    return f"exchange: {found.group(1).strip()}" if found else "exchange"

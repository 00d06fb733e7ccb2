"""A model by import path whose calls go through the run's ledger: the real writer over a scripted client, in any process."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kernelwright.agent.llm.client import Bound, Reply
from kernelwright.agent.writers.llm import LlmWriter
from kernelwright.agent.writers.writer import Setup
from kernelwright.tasks.errors import WriterError

MODEL = "ledgered:Ledgered"
COST = 0.10
TOKENS = (1000, 200)
BOUND = Bound(2000, 0.25)

_LOCK = threading.Lock()


class FileClient:
    """Call n of a workspace gets line n of its ``script.json`` (the last one again and again), as :mod:`scripted` writes it.

    Each call adds a line to ``<home>/calls`` when it reaches the provider. ``~seconds`` waits, ``!`` breaks off: the error
    carries what the tries cost.
    """

    model = "test/scripted"
    priced = True

    def __init__(self, home: Path, bound: Bound = BOUND) -> None:
        self._home = home
        self._bound = bound

    def body(self, prompt: str, seed: int | None = None) -> dict[str, Any]:
        return {"model": self.model, "messages": [{"role": "user", "content": prompt}], "seed": seed}

    def bound(self, prompt: str) -> Bound:
        return self._bound

    def ask(self, prompt: str, seed: int | None, heard: Callable[[int], None], again: Callable[[Reply], bool]) -> Reply:
        line = self._line()
        if line.startswith("~"):
            seconds, _, line = line[1:].partition(" ")
            heard(7)
            time.sleep(float(seconds))
        if line == "!":
            error = WriterError("the server went away", "start it")
            error.paid = Reply("", "broke off", 1000, 50, estimated=True, cost_usd=0.05, tries=5)  # type: ignore[attr-defined]
            raise error
        return Reply(line, "", *TOKENS, cost_usd=COST, seconds=1.0)

    def _line(self) -> str:
        lines: list[str] = json.loads((self._home / "script.json").read_text())
        with _LOCK:
            number = len(reached(self._home))
            with (self._home / "calls").open("a") as file:
                file.write("call\n")
        return lines[min(number, len(lines) - 1)]


def reached(home: Path) -> list[str]:
    """A line for each call that reached the provider."""
    path = home / "calls"
    return path.read_text().splitlines() if path.is_file() else []


class Ledgered(LlmWriter):
    """The model writer, as ``--model ledgered:Ledgered``."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup, FileClient(setup.home))  # type: ignore[arg-type]

"""Which tasks can be judged at all: admission over many of them, each finding kept at once, so that it can go on later."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from kernelwright.evaluator.judge import Judge
from kernelwright.tasks.codec import from_json, to_json
from kernelwright.tasks.errors import HarnessError, NotAdmitted, TaskError
from kernelwright.tasks.records import Task

_KILLED = "killed by SIGKILL"
"""Perhaps for want of memory, and that may be another process's doing."""


@dataclass(frozen=True)
class Finding:
    """What admission says of one task on one device."""

    task: str
    task_id: str
    device: str
    status: str
    """``admitted``; ``hardened``: by further draws; ``refused``: a trivial output would pass; ``broken``: cannot run."""
    detail: str
    seconds: float

    @property
    def usable(self) -> bool:
        return self.status in ("admitted", "hardened")


def audit(judge: Judge, tasks: Iterable[Task], record: Path) -> Iterator[Finding]:
    """The finding on each task; those in ``record`` (JSON Lines, appended to) for the same task and device stand.

    What the harness itself could not do, such as for want of memory, is told as ``broken`` and not kept.
    """
    known = {(f.task, f.task_id, f.device): f for f in _read(record)}
    record.parent.mkdir(parents=True, exist_ok=True)
    if record.is_file() and not record.read_bytes().endswith(b"\n"):
        with record.open("a", encoding="utf-8") as out:
            out.write("\n")  # a line cut off by a kill must not swallow the next
    for task in tasks:
        finding = known.get((task.name, task.task_id, judge.device))
        if finding is None:
            finding, keep = _examine(judge, task)
            if keep:
                with record.open("a", encoding="utf-8") as out:
                    out.write(f"{json.dumps(to_json(finding))}\n")
        yield finding


def _examine(judge: Judge, task: Task) -> tuple[Finding, bool]:
    began = time.monotonic()
    keep = True
    try:
        judge.admit(task)
        session = judge.session_for(task)
        status = "hardened" if session.hardened else "admitted"
        parts = [f"by draws: {', '.join(session.hardened)}"] if session.hardened else []
        detail = "; ".join([*parts, *(f"cannot tell {what}" for what in session.weak)])
    except NotAdmitted as error:
        status, detail = "refused", _said(error.message, task)
    except TaskError as error:
        status, detail = "broken", _said(error.message, task)
        keep = _KILLED not in error.message
    except HarnessError as error:
        status, detail, keep = "broken", f"the harness: {error.message}", False
    return Finding(task.name, task.task_id, judge.device, status, detail, round(time.monotonic() - began, 2)), keep


def _said(message: str, task: Task) -> str:
    """The message on one line, without the task's name."""
    return " ".join(message.removeprefix(f"{task.name}: ").removeprefix("not admitted: ").split())[:300]


def _read(record: Path) -> Iterator[Finding]:
    """Findings of an earlier audit; a line cut off by a kill is passed over."""
    if record.is_file():
        for line in record.read_text(encoding="utf-8").splitlines():
            with suppress(json.JSONDecodeError):
                yield from_json(Finding, json.loads(line))

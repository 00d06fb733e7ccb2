"""The final figures of a winner: judged again in fresh processes, pooled over all of them (design §4).

An audit's judgings are thorough: every sanitizer of the device runs (on a GPU compute-sanitizer, which the search leaves out),
and timing goes on longer. What they find revokes the verdict, and the next best takes its place.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kernelwright.agent.files import write_text
from kernelwright.agent.policies.policy import best_of
from kernelwright.evaluator.engines.engine import Engine, Job
from kernelwright.evaluator.figures import pool
from kernelwright.tasks.codec import from_json, to_json
from kernelwright.tasks.errors import Pending
from kernelwright.tasks.records import Attempt, Task, Verdict

_RECORDS = "records"
"""Folder beside the audits' verdicts, for what those drew and measured."""
JUDGINGS = 2
"""Further judgings of a winner, each in a fresh process: three with the attempt's own."""


@dataclass(frozen=True)
class Audited:
    """A winner and the verdict that is quoted for it; no winner when nothing held."""

    winner: Attempt | None
    verdict: Verdict | None
    notes: tuple[str, ...] = ()


def audit(
    task: Task, attempts: Sequence[Attempt], engine: Engine, folder: Path, stopping: Callable[[], bool]
) -> Audited | None:
    """Choose the best attempt and judge it again; one that fails an audit gives way to the next best.

    Each judging is kept in ``folder``, so that a killed audit goes on where it was. None: stopped before it was done.
    """
    notes: list[str] = []
    left = [a for a in attempts if a.feasible]
    while (winner := best_of(left)) is not None and winner.verdict is not None and winner.answer.kernel is not None:
        verdicts = [winner.verdict]
        try:
            for n in range(1, JUDGINGS + 1):
                if stopping():
                    return None
                job = Job(f"{winner.id}-audit{n}", winner.answer.kernel, task, thorough=True)
                verdicts.append(_judged(job, engine, folder))
                if not verdicts[-1].passed:
                    break
        except Pending:
            notes.append("figures from one process: judged elsewhere, not audited here")
            return Audited(winner, winner.verdict, tuple(notes))
        if all(v.passed for v in verdicts):
            return Audited(winner, pool(verdicts), tuple(notes))
        notes.append(f"{winner.id} passed and then was {verdicts[-1].status.value} in the audit: {verdicts[-1].reason}")
        left = [a for a in left if a.id != winner.id and a.answer.kernel != winner.answer.kernel]
    return Audited(None, None, tuple(notes))


def kept(job: str, folder: Path) -> Path:
    """Where the verdict of a judging is kept."""
    return folder / f"{job}.json"


def record_of(path: Path) -> dict[str, Any] | None:
    """What the judging of the verdict in ``path`` drew and measured; None where that was not kept."""
    beside = path.parent / _RECORDS / path.name
    return dict(json.loads(beside.read_text(encoding="utf-8"))) if beside.is_file() else None


def _judged(job: Job, engine: Engine, folder: Path) -> Verdict:
    path = kept(job.id, folder)
    if path.is_file():
        return from_json(Verdict, json.loads(path.read_text()))
    verdict = engine.evaluate(job)
    evidence = dict(verdict.evidence)
    record = evidence.pop("record", None)
    if record is not None:  # it is large, and only evidence files need it
        verdict = replace(verdict, evidence=evidence)
        write_text(path.parent / _RECORDS / path.name, json.dumps(to_json(record)))
    write_text(path, json.dumps(to_json(verdict), indent=1))
    return verdict

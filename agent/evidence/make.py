"""Evidence of a kernel that was just judged, and of a task's winner in a run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from kernelwright.agent import audit
from kernelwright.agent.bench.plan import commit
from kernelwright.agent.evidence.file import judging, split, versions
from kernelwright.agent.evidence.records import AUDIT, CHECK, SEARCH, Evidence, Judging, Origin
from kernelwright.evaluator.device import DeviceInfo
from kernelwright.evaluator.settings import Settings
from kernelwright.tasks.codec import from_json, to_json
from kernelwright.tasks.records import Attempt, Kernel, Task, Verdict


def of_check(kernel: Kernel, task: Task, verdict: Verdict, settings: Settings, device: DeviceInfo | None) -> Evidence:
    """Of one judging; the verdict's journal goes with it where it has one."""
    one = judging(CHECK, verdict)
    return _evidence(kernel, task, one.verdict, (one,), settings, device, Origin())


def of_winner(
    attempt: Attempt, verdict: Verdict, task: Task, folder: Path, settings: Settings, device: DeviceInfo | None, origin: Origin
) -> Evidence | None:
    """Of a winner whose quoted verdict is ``verdict`` and whose audits lie in ``folder``; None where it has no kernel."""
    if attempt.answer.kernel is None or attempt.verdict is None:
        return None
    judgings = (judging(SEARCH, attempt.verdict), *_audits(attempt.id, folder))
    used = settings if len(judgings) == 1 else settings.thorough(device.kind if device else "cpu")
    return _evidence(attempt.answer.kernel, task, split(verdict)[0], judgings, used, device, origin)


def _audits(attempt: str, folder: Path) -> Iterator[Judging]:
    for number in range(1, audit.JUDGINGS + 1):
        path = audit.kept(f"{attempt}-audit{number}", folder)
        if not path.is_file():
            return
        yield judging(AUDIT, from_json(Verdict, json.loads(path.read_text(encoding="utf-8"))), audit.record_of(path))


def _evidence(
    kernel: Kernel,
    task: Task,
    verdict: Verdict,
    judgings: tuple[Judging, ...],
    settings: Settings,
    device: DeviceInfo | None,
    origin: Origin,
) -> Evidence:
    # A file travels: where the task lay on this machine is nobody else's business.
    named = replace(task, path=Path(task.path).name)
    created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    chosen: Mapping[str, Any] = to_json(settings)
    return Evidence(created, named, kernel, verdict, judgings, chosen, device, versions(device), commit(), origin)

"""``kernelwright check --evidence FILE``: does what the file says hold?"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kernelwright.agent.cli.output import Output
from kernelwright.tasks.codec import to_json
from kernelwright.tasks.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from kernelwright.agent.evidence.again import Again
    from kernelwright.agent.evidence.findings import Finding
    from kernelwright.agent.evidence.records import Evidence
    from kernelwright.evaluator.judge import Judge
    from kernelwright.tasks.records import Kernel, Task, Verdict

_COLOURS = {"holds": "green", "fails": "red", "noted": "yellow", "not comparable": "yellow"}


@dataclass(frozen=True)
class Asked:
    """What ``check --evidence`` was asked for."""

    path: Path
    task: str | None
    backend: str | None
    device: str | None
    sandbox: str
    home: Path | None
    judging: bool
    """Whether to judge again."""


def check(asked: Asked) -> Output:
    """Look at the file, then judge its kernel again; exit code 0 when all holds."""
    from kernelwright.agent.evidence import again, file, integrity
    from kernelwright.agent.evidence.findings import FAILS, HOLDS, holds

    evidence, data = file.read(asked.path)
    findings: list[Finding] = list(integrity.examine(evidence, data))
    findings.append(again.same_task(evidence, *_trusted(evidence, asked.task)))
    found: dict[str, Any] = {}
    judged = "not asked for (--no-judging)"
    if asked.judging:
        judged = "not done: what the file says does not agree with itself"
        if holds(findings):
            judged = "done"
            result = _judged_again(evidence, asked)
            findings += result.findings
            found = {"device": to_json(result.device), "verdicts": to_json(result.verdicts)}
    good = holds(findings)
    answer = {
        "file": str(asked.path),
        "holds": good,
        "task": evidence.task.name,
        "kernel_id": evidence.kernel.kernel_id,
        "recorded": again.recorded_summary(evidence),
        "judged_again": judged,
        "checks": [vars(finding) for finding in findings],
        "fails": [finding.check for finding in findings if finding.result == FAILS],
        **found,
    }
    told = sum(finding.result == HOLDS for finding in findings)
    head = f"holds: {told} of {len(findings)} checks, none against it" if good else f"fails: {', '.join(answer['fails'])}"
    return Output(answer, lambda console: _print(evidence, head, good, judged, findings, console), 0 if good else 1)


def save(path: Path, kernel: Kernel, task: Task, verdict: Verdict, judge: Judge) -> Verdict:
    """Write the evidence of one judging; the verdict without what is in the file only."""
    from kernelwright.agent.evidence import file, make

    evidence = make.of_check(kernel, task, verdict, judge.settings, judge.device_info())
    file.save(evidence, path)
    return evidence.verdict


def _trusted(evidence: Evidence, given: str | None) -> tuple[Task | None, str]:
    """The task that the recorded one should be: the one that is given, or that of the library with its name."""
    from kernelwright.tasks.load import all_tasks, load_task

    if given is not None:
        return load_task(given), "the task that was given"
    known = {task.name: task for task in all_tasks()} if evidence.task.name.startswith("core/") else {}
    return known.get(evidence.task.name), "the library's task"


def _judged_again(evidence: Evidence, asked: Asked) -> Again:
    from kernelwright.agent.evidence.again import judge_again, settings_for
    from kernelwright.agent.workspace import Workspace
    from kernelwright.evaluator.backends.registry import BACKENDS
    from kernelwright.evaluator.judge import Judge

    backend = evidence.kernel.backend
    if backend not in BACKENDS and backend != asked.backend:  # an import path: a file may not choose what is imported here
        known = ", ".join(BACKENDS)
        raise InputError(f"its backend {backend[:80]!r} is none of {known}", "name it with --backend, if you trust that module")
    cache = Workspace.at(asked.home, None).cache
    with Judge(backend, asked.device, cache, settings_for(evidence, asked.sandbox)) as judge:
        return judge_again(evidence, judge, _tell)


def _tell(what: str) -> None:
    sys.stderr.write(f"{what}\n")
    sys.stderr.flush()


def _print(evidence: Evidence, head: str, good: bool, judged: str, findings: Sequence[Finding], console: Console) -> None:
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    title = f"{_plain(evidence.task.name)}  {evidence.kernel.kernel_id}"
    console.print(Panel(Text(_plain(head), style="green" if good else "red"), title=Text(title), title_align="left"))
    table = Table()
    for heading in ("check", "", "recorded", "now", "detail"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        result = Text(finding.result, style=_COLOURS[finding.result])
        cells = (Text(_plain(cell)) for cell in (finding.recorded, finding.now, finding.detail))
        table.add_row(Text(_plain(finding.check)), result, *cells)
    console.print(table)
    where = f"recorded {evidence.created} on {evidence.device_name}; judging again: {judged}"
    console.print(Text(_plain(where)))


def _plain(text: str) -> str:
    """Without what would steer a terminal: the file is a stranger's."""
    return "".join(ch if ch.isprintable() else "·" for ch in text[:600])

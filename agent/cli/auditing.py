"""``kernelwright tasks --audit``: task admission over a list, each finding printed as it comes."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kernelwright.agent.cli import defaults
from kernelwright.agent.cli.output import Output
from kernelwright.tasks.codec import to_json

if TYPE_CHECKING:
    from rich.console import Console

    from kernelwright.agent.admission import Finding
    from kernelwright.tasks.records import Task


def audit(tasks: Sequence[Task], left_out: Mapping[str, str], device: str | None, home: Path | None) -> Output:
    """Examine every task; findings come one a line on stderr, and are kept in ``<home>/audit.jsonl``."""
    from kernelwright.agent import admission
    from kernelwright.agent.workspace import Workspace
    from kernelwright.evaluator.judge import Judge

    place = Workspace.at(home, None)
    findings: list[Finding] = []
    with Judge(defaults.backend(device), device, place.cache) as judge:
        for finding in admission.audit(judge, tasks, place.home / "audit.jsonl"):
            findings.append(finding)
            sys.stderr.write(f"[{len(findings)}/{len(tasks)}] {_line(finding)}\n")
    counts = dict(Counter(f.status for f in findings))
    data = {"audit": [to_json(f) for f in findings], "counts": counts, "left_out": dict(left_out)}
    return Output(data, lambda console: _print(findings, counts, left_out, console), int(not all(f.usable for f in findings)))


def _line(finding: Finding) -> str:
    return f"{finding.task}: {finding.status}" + (f": {finding.detail}" if finding.detail else "")


def _print(findings: Sequence[Finding], counts: Mapping[str, int], left_out: Mapping[str, str], console: Console) -> None:
    """What cannot be judged, again and together, and the counts."""
    for finding in findings:
        if not finding.usable:
            console.print(_line(finding), markup=False, highlight=False)
    parts = [f"{n} {status}" for status, n in counts.items()]
    parts += [f"{len(left_out)} left out"] if left_out else []
    console.print(f"{len(findings)} tasks: {', '.join(parts)}", markup=False, highlight=False)

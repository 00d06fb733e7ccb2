"""``kernelwright check --selftest``: the judge against the red-team corpus."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kernelwright.agent.cli.output import Output
from kernelwright.tasks.codec import to_json
from kernelwright.tasks.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from kernelwright.evaluator.selftest import Report, Row


def test(
    backend: str | None,
    device: str | None,
    corpus: Path | None,
    only: str | None,
    sandbox: str,
    home: Path | None,
    jobs: int,
) -> Output:
    """Judge the corpus and say what was missed; exit code 0 when nothing was."""
    from kernelwright.agent.cli import defaults
    from kernelwright.agent.workspace import Workspace
    from kernelwright.evaluator import selftest
    from kernelwright.evaluator.settings import SANDBOXES

    if sandbox not in SANDBOXES:
        raise InputError(f"--sandbox is {sandbox!r}", f"give one of {', '.join(SANDBOXES)}")
    if jobs < 1:
        raise InputError(f"--jobs is {jobs}", "give how many judges may work at once, from 1")
    names = [name.strip() for name in only.split(",") if name.strip()] if only is not None else []
    if only is not None and not names:
        raise InputError("--only names no kernel", "give names from the corpus, separated by commas")
    found = selftest.load_corpus(corpus or selftest.default_corpus(), backend or defaults.backend(device), names)
    settings = replace(selftest.SETTINGS, sandbox=sandbox)
    report = selftest.run(found, device, Workspace.at(home, None).cache, settings, _tell, jobs)
    data = {**to_json(report), "clean": report.clean}
    return Output(data, lambda console: _print(report, console), 0 if report.clean else 1)


def _tell(row: Row) -> None:
    """One line on stderr as each kernel is done: the whole takes minutes."""
    sys.stderr.write(f"{'ok  ' if row.ok else 'MISS'} {row.backend} {row.kind} {row.name}: {row.status} {row.layer}\n")
    sys.stderr.flush()


def _print(report: Report, console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for heading in ("kernel", "kind", "family", "verdict", "caught by", "without the screen", "s"):
        table.add_column(heading)
    for row in report.rows:
        verdict = Text(row.status if row.ok else f"{row.status} (expected {', '.join(row.expect)})")
        verdict.stylize("green" if row.ok else "red")
        table.add_row(
            f"{row.backend}/{row.name}", row.kind, row.family, verdict, row.layer, row.without_screen, f"{row.seconds:.1f}"
        )
    console.print(table)
    for row in report.rows:
        if not row.ok:
            console.print(f"{row.backend}/{row.name}: {row.reason}", markup=False, highlight=False)
    cheats = sum(row.kind == "cheat" for row in report.rows)
    lines = [
        f"cheats caught: {_share(report.detection)} of {cheats}",
        f"honest kernels accused: {_share(report.false_alarms)} of {len(report.rows) - cheats}",
        f"caught without the screen's text rules: {_share(report.without_screen)}",
        f"took {report.seconds:.0f} s",
    ]
    for line in lines:
        console.print(line, markup=False, highlight=False)


def _share(value: float | None) -> str:
    return "none to count" if value is None else f"{value:.1%}"

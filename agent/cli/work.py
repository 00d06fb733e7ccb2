"""A run on the terminal: progress while it works, then the table or the JSON object of design §3."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kernelwright.agent.cli.figures import interval, latency, spent_in_words
from kernelwright.agent.cli.interrupt import Interrupt
from kernelwright.agent.cli.output import Output
from kernelwright.agent.cli.progress import Progress
from kernelwright.memory.spending import by, total
from kernelwright.tasks.codec import to_json

if TYPE_CHECKING:
    from rich.console import Console

    from kernelwright.agent.run import Result
    from kernelwright.agent.watch import Watch
    from kernelwright.agent.workspace import Workspace
    from kernelwright.memory.records import TaskOutcome

SOLVED = ("improved", "solved")
INTERRUPTED = 130


def work(run: Callable[[Watch], Result], workspace: Workspace) -> Output:
    """Run ``run`` under Ctrl-C's two meanings and with progress on stderr."""
    with Interrupt() as interrupt, Progress(interrupt, sys.stderr) as progress:
        result = run(progress)
    stopped = interrupt.asked or result.run.status == "interrupted"  # here, or from afar
    return as_output(result, workspace, interrupted=stopped)


def as_output(result: Result, workspace: Workspace, *, interrupted: bool = False) -> Output:
    """The result as the contract's object, as a table, and its exit code."""
    data: dict[str, Any] = {
        "run": result.run.id,
        "status": result.run.status,
        "tasks": [_task_json(outcome, result, workspace) for outcome in result.outcomes],
        "backends": list(result.config.targets),
        "report": str(workspace.run(result.run.id) / "report.html"),
        "spent": _spent_json(result),
    }
    if len(result.config.targets) > 1:
        data["attempts"] = _attempts_json(result)
    if result.config.left_out:
        data["left_out"] = dict(result.config.left_out)
    if result.diversity is not None:
        data["diversity"] = to_json(result.diversity)
    if result.rejudged is not None:
        data["rejudged"] = to_json(result.rejudged)
    solved = all(outcome.status in SOLVED for outcome in result.outcomes)
    same = result.rejudged is None or not result.rejudged.differences
    code = INTERRUPTED if interrupted else 0 if solved and same else 1
    return Output(data, lambda console: _print(result, data, console), code)


def _task_json(outcome: TaskOutcome, result: Result, workspace: Workspace) -> dict[str, Any]:
    task = next((task for task in result.run.tasks if task.name == outcome.task), None)
    return {
        "task": task.asked if task else outcome.task,
        **({"backend": task.target} if task and task.target else {}),
        "status": outcome.status,
        "attempts": outcome.attempts,
        "best": _best_json(outcome, result, workspace),
        "cost_usd": outcome.cost_usd,
        "reason": outcome.reason,
    }


def _attempts_json(result: Result) -> list[dict[str, Any]]:
    """Each attempt of a run over several backends: on which one, and how far it was verified (null: it was not judged)."""
    tasks = {task.name: task for task in result.run.tasks}
    return [
        {
            "attempt": attempt.id,
            "task": tasks[attempt.idea.task].asked,
            "backend": tasks[attempt.idea.task].target,
            "number": attempt.idea.number,
            "status": attempt.status,
            "assurance": attempt.verdict.assurance.value if attempt.verdict else None,
        }
        for attempt in (step.attempt for step in result.steps)
        if attempt is not None
    ]


def _spent_json(result: Result) -> dict[str, Any]:
    """What the run spent; ``cost_usd`` is null where a price is unknown."""
    whole = total(line.spent for line in result.ledger)
    parts = {f"by_{column}": to_json(by(column, result.ledger)) for column in ("model", "role")}
    return {**to_json(whole), **parts}


def _best_json(outcome: TaskOutcome, result: Result, workspace: Workspace) -> dict[str, Any] | None:
    verdict = outcome.verdict
    if verdict is None:
        return None
    task = next(t for t in result.run.tasks if t.name == outcome.task)
    path = workspace.best(result.run.id, task) / "kernel.py"
    timing = verdict.timing
    names = ("eager", "compile", "best")
    return {
        "kernel_id": verdict.kernel_id,
        **({"assurance": verdict.assurance.value} if task.target else {}),
        "path": str(path) if path.is_file() else None,
        "latency_us": timing.latency_us.median if timing else None,
        "speedup": {name: to_json(timing.speedup.get(name)) if timing else None for name in names},
        "roofline_fraction": timing.roofline_fraction if timing else None,
        "library_share": verdict.library_share,
    }


def _print(result: Result, data: Mapping[str, Any], console: Console) -> None:
    from rich import box
    from rich.table import Table

    table = Table(title=f"run {result.run.id}", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("task", overflow="fold", min_width=16)
    several = len(result.config.targets) > 1
    for heading in ("attempts", "status", *(["verified"] if several else []), "latency", "vs eager", "vs torch.compile"):
        table.add_column(heading, justify="right", no_wrap=True)
    for outcome in result.outcomes:
        timing = outcome.verdict.timing if outcome.verdict else None
        shown = timing.speedup if timing else {}
        figures = (latency(timing), interval(shown.get("eager")), interval(shown.get("compile")))
        cells = (cell.replace(" [", "\n[") for cell in figures)  # the interval under its median: 80 columns are enough
        verified = [outcome.verdict.assurance.value if outcome.verdict else ""] if several else []
        table.add_row(outcome.task, str(outcome.attempts), outcome.status, *verified, *cells)
    console.print(table)
    for backend, why in result.config.left_out.items():
        console.print(f"{backend}: left out: {why}", markup=False, highlight=False)
    for outcome, row in zip(result.outcomes, data["tasks"], strict=True):
        if outcome.status not in SOLVED:
            console.print(f"{outcome.task}: {outcome.reason}", markup=False, highlight=False)
        elif row["best"]["path"] is not None:
            console.print(f"{outcome.task}: {_near(row['best']['path'])}", markup=False, highlight=False)
    for difference in result.rejudged.differences if result.rejudged else ():
        line = f"{difference.attempt}: recorded {difference.recorded}, judged again {difference.now}"
        console.print(line, markup=False, highlight=False)
    whole = total(line.spent for line in result.ledger)
    if whole.calls or whole.cost_usd != 0:
        console.print(f"spent: {spent_in_words(whole)}", markup=False, highlight=False)
    console.print(f"report: {_near(data['report'])}", markup=False, highlight=False)
    if result.run.status in ("interrupted", "waiting"):
        console.print(f"{result.run.status}; go on with: kernelwright resume {result.run.id}", markup=False, highlight=False)


def _near(path: str) -> str:
    """The path as short as it can be written from here."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path

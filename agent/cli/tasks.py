"""``kernelwright tasks``: list the tasks, or show one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kernelwright.agent.cli import auditing
from kernelwright.agent.cli.options import AsJson, ClonePath, Home, Levels, Scale, example, listed, verb
from kernelwright.agent.cli.output import Output
from kernelwright.tasks.codec import to_json
from kernelwright.tasks.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from kernelwright.tasks.records import Task
    from kernelwright.tasks.suites.suite import Loaded

app = verb()

EXAMPLES = example(
    """
kernelwright tasks --suite quickstart
kernelwright tasks rms_norm
kernelwright tasks --suite kernelbench --path KernelBench --level 1,2
kernelwright tasks 23_Softmax --suite kernelbench --path KernelBench
kernelwright tasks --suite kernelbench --path KernelBench --level 1 --scale 0.001 --audit
"""
)


@app.command(epilog=EXAMPLES)
def tasks(  # noqa: PLR0913  one argument an option is how typer reads a command line
    task: Annotated[str | None, typer.Argument(metavar="[TASK]", help="Show this one: a name, or a file.")] = None,
    suite: Annotated[str | None, typer.Option(help="A suite's tasks: quickstart, core; a public one by --path.")] = None,
    path: ClonePath = None,
    level: Levels = None,
    scale: Scale = None,
    audit: Annotated[
        bool, typer.Option("--audit", help="Say which tasks can tell a right kernel from a trivial one; goes on if repeated.")
    ] = False,
    device: Annotated[str | None, typer.Option(help="Of --audit: cpu, cuda or cuda:N; default: what is there.")] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> Output:
    """List the tasks of the library or of a suite, or show one: its cases, its roofline and its reference.

    --audit: exit code 0 every task can be judged, 1 some cannot.
    """
    from kernelwright.tasks.load import load_task
    from kernelwright.tasks.scaling import scaled
    from kernelwright.tasks.suites.suite import Selection, load_tasks

    if suite is None and (path, level) != (None, None):
        raise InputError("--path and --level belong to --suite", "name the suite that DIR is a clone of")
    if task is not None and suite is None and not audit:
        return _one(scaled(load_task(task), scale))
    loaded = load_tasks(suite or "core", path, Selection(listed(level), (task,) if task and suite else (), scale))
    if audit:
        return auditing.audit(
            [scaled(load_task(task), scale)] if task and not suite else loaded.tasks, loaded.left_out, device, home
        )
    if task is not None and len(loaded.tasks) == 1:
        return _one(loaded.tasks[0])
    data = {"tasks": [_row(t) for t in loaded.tasks], "left_out": dict(loaded.left_out), "notes": list(loaded.notes)}
    return Output(data, lambda console: _print(loaded, console))


def _one(task: Task) -> Output:
    return Output({"tasks": [{**_row(task), "record": to_json(task)}]}, lambda console: _print_one(task, console))


def _row(task: Task) -> dict[str, Any]:
    uses = [case.use.value for case in task.cases]
    dtypes = sorted({dtype for case in task.cases for dtype in case.dtypes})
    keys = ("category", "family", "scenario", "summary")
    return {
        "task": task.name,
        **{key: getattr(task, key) for key in keys},
        "dtypes": dtypes,
        "cases": {use: uses.count(use) for use in dict.fromkeys(uses)},
    }


def _print(loaded: Loaded, console: Console) -> None:
    from rich.table import Table

    table = Table()
    for heading in ("task", "family", "scenario", "dtypes", "summary"):
        table.add_column(heading, no_wrap=heading == "task")
    for task in loaded.tasks:
        dtypes = ", ".join(_row(task)["dtypes"])
        table.add_row(task.name, task.family, task.scenario, dtypes, task.summary)
    console.print(table)
    for why, names in grouped(loaded.left_out).items():
        console.print(f"left out, {why}: {', '.join(names)}", markup=False, highlight=False)
    for note in loaded.notes:
        console.print(f"note: {note}", markup=False, highlight=False)


def grouped(left_out: Mapping[str, str]) -> dict[str, list[str]]:
    """Reason -> the entries left out for it."""
    reasons: dict[str, list[str]] = {}
    for name, why in left_out.items():
        reasons.setdefault(why, []).append(name)
    return reasons


def _print_one(task: Task, console: Console) -> None:
    from rich.syntax import Syntax
    from rich.table import Table

    console.print(f"{task.name}: {task.summary or task.path}", markup=False, highlight=False)
    facts = {"category": task.category, "family": task.family, "scenario": task.scenario}
    facts |= {"bytes": task.bytes, "flops": task.flops, "library": ", ".join(task.library)}
    for name, value in facts.items():
        if value:
            console.print(f"  {name}: {value}", markup=False, highlight=False)
    table = Table()
    for heading in ("case", "use", "sizes", "dtypes", "device"):
        table.add_column(heading)
    for case in task.cases:
        sizes = ", ".join(f"{name}={size}" for name, size in case.sizes.items()) or "as written"
        table.add_row(case.name, case.use.value, sizes, ", ".join(case.dtypes), case.device or "any")
    console.print(table)
    console.print(Syntax(task.source, "python", background_color="default"))

"""``kernelwright tasks``: list the tasks, or show one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from kernelwright.agent.cli.options import AsJson, example, verb
from kernelwright.agent.cli.output import Output
from kernelwright.tasks.codec import to_json

if TYPE_CHECKING:
    from rich.console import Console

    from kernelwright.tasks.records import Task

app = verb()


@app.command(epilog=example("kernelwright tasks --suite quickstart\nkernelwright tasks rms_norm"))
def tasks(
    task: Annotated[str | None, typer.Argument(metavar="[TASK]", help="Show this one: a name, or a file.")] = None,
    suite: Annotated[str | None, typer.Option(help="Only the tasks of a suite: quickstart, core.")] = None,
    as_json: AsJson = False,
) -> Output:
    """List the tasks of the library, or show one: its cases, its roofline and its reference."""
    from kernelwright.tasks.load import all_tasks, load_suite, load_task

    if task is not None:
        one = load_task(task)
        return Output({"tasks": [{**_row(one), "record": to_json(one)}]}, lambda console: _print_one(one, console))
    found = load_suite(suite) if suite is not None else all_tasks()
    return Output({"tasks": [_row(t) for t in found]}, lambda console: _print(found, console))


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


def _print(found: tuple[Task, ...], console: Console) -> None:
    from rich.table import Table

    table = Table()
    for heading in ("task", "family", "scenario", "dtypes", "summary"):
        table.add_column(heading, no_wrap=heading == "task")
    for task in found:
        dtypes = ", ".join(_row(task)["dtypes"])
        table.add_row(task.name, task.family, task.scenario, dtypes, task.summary)
    console.print(table)


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

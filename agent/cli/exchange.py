"""``kernelwright exchange``: answer prompts by hand, or let a coding agent do it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from kernelwright.agent.cli.options import AsJson, Home, StoreUrl, example, verb, workspace
from kernelwright.agent.cli.output import Output
from kernelwright.agent.writers.exchange import Sheet, sheets
from kernelwright.agent.writers.exchange import submit as put_down

app = verb(
    "Answer the prompts of `kernelwright optimize --model exchange` runs, then resume them.",
    "kernelwright exchange next",
)


@app.command("next", epilog=example("kernelwright exchange next\nkernelwright exchange next --json"))
def next_(home: Home = None, store: StoreUrl = None, as_json: AsJson = False) -> Output:
    """The oldest prompt that waits for an answer."""
    waiting = [sheet for sheet in sheets(workspace(home, store).exchange) if not sheet.answered]
    row = _row(waiting[0]) if waiting else None
    text = f"{row['id']}\n{row['prompt']}" if row else "no prompt waits for an answer"
    return Output({"exchange": row}, lambda console: console.print(text, markup=False, highlight=False))


@app.command(epilog=example("kernelwright exchange submit 261122-130500-3f2a-1b2c3d-001 answer.md"))
def submit(
    idea: Annotated[str, typer.Argument(metavar="ID", help="The idea's id, as `exchange next` gives it.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The answer: text with the kernel in a code block.")],
    replace: Annotated[bool, typer.Option("--replace", help="Replace an earlier answer.")] = False,
    home: Home = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> Output:
    """Put down the answer to a prompt; `kernelwright resume RUN` then goes on with it."""
    row = _row(put_down(workspace(home, store).exchange, idea, file, replace=replace))
    text = f"{row['id']}: answered; go on with: kernelwright resume {row['run']}"
    return Output({"exchange": row}, lambda console: console.print(text, markup=False, highlight=False))


@app.command("list", epilog=example("kernelwright exchange list"))
def list_(home: Home = None, store: StoreUrl = None, as_json: AsJson = False) -> Output:
    """All prompts that were sent out, oldest first."""
    rows = [_row(sheet) for sheet in sheets(workspace(home, store).exchange)]
    lines = [f"{row['id']}  {'answered' if row['answered'] else 'waiting'}  {row['prompt']}" for row in rows]
    text = "\n".join(lines) or "no prompts yet: kernelwright optimize TASK --model exchange"
    return Output({"exchange": rows}, lambda console: console.print(text, markup=False, highlight=False))


def _row(sheet: Sheet) -> dict[str, Any]:
    run = sheet.id.rsplit("-", 2)[0]
    where = {"prompt": str(sheet.prompt), "answer": str(sheet.answer)}
    return {"id": sheet.id, "run": run, **where, "answered": sheet.answered}

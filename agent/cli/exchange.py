"""``kernelwright exchange``: answer prompts by hand, or let a coding agent do it; see what was asked and what came of it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kernelwright.agent.cli.options import AsJson, Home, StoreUrl, example, verb, workspace
from kernelwright.agent.cli.output import Output
from kernelwright.agent.exchange.sheets import Sheet, sheets
from kernelwright.tasks.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from kernelwright.agent.exchange.seat import Seen
    from kernelwright.memory.records import Call

app = verb(
    "Answer the prompts of `kernelwright optimize --model exchange` runs; see the exact prompt of any attempt.",
    "kernelwright exchange next",
)

_POLL_SECONDS = 0.5

IdeaId = Annotated[str, typer.Argument(metavar="ID", help="The idea's id, as `exchange next` or a report gives it.")]


@app.command("next", epilog=example("kernelwright exchange next\nkernelwright exchange next --wait 600 --json"))
def next_(
    wait: Annotated[float, typer.Option(metavar="SECONDS", help="Wait so long for a prompt to come.")] = 0,
    home: Home = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> Output:
    """The oldest prompt that waits for an answer."""
    root, until = workspace(home, store).exchange, time.monotonic() + wait
    while not (waiting := [sheet for sheet in sheets(root) if not sheet.answered]) and time.monotonic() < until:
        time.sleep(min(_POLL_SECONDS, wait))
    row = _row(waiting[0]) if waiting else None
    text = f"{row['id']}\n{row['prompt']}" if row else "no prompt waits for an answer"
    return Output({"exchange": row}, lambda console: console.print(text, markup=False, highlight=False))


@app.command(epilog=example("kernelwright exchange submit 261122-130500-3f2a-1b2c3d-001 answer.md"))
def submit(
    idea: IdeaId,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The answer: text with the kernel in a code block.")],
    replace: Annotated[bool, typer.Option("--replace", help="Replace an answer that its run has not read yet.")] = False,
    home: Home = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> Output:
    """Put down the answer to a prompt; `kernelwright resume RUN` goes on with it, `optimize --wait` does so by itself."""
    from kernelwright.agent.exchange.seat import Seat

    place = workspace(home, store)
    try:
        answer = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}", "give the file that holds the answer") from error
    row = _row(Seat(place).submit(idea, answer, replace=replace, source=str(file)))
    text = f"{row['id']}: answered; unless its run waits for it, go on with: kernelwright resume {row['run']}"
    return Output({"exchange": row}, lambda console: console.print(text, markup=False, highlight=False))


@app.command("list", epilog=example("kernelwright exchange list"))
def list_(home: Home = None, store: StoreUrl = None, as_json: AsJson = False) -> Output:
    """All prompts that were sent out, oldest first."""
    rows = [_row(sheet) for sheet in sheets(workspace(home, store).exchange)]
    lines = [f"{row['id']}  {'answered' if row['answered'] else 'waiting'}  {row['prompt']}" for row in rows]
    text = "\n".join(lines) or "no prompts yet: kernelwright optimize TASK --model exchange"
    return Output({"exchange": rows}, lambda console: console.print(text, markup=False, highlight=False))


@app.command(
    epilog=example(
        "kernelwright exchange show 261122-130500-3f2a-1b2c3d-001\n"
        "kernelwright exchange show 261122-130500-3f2a-1b2c3d-001 --prompt > prompt.md"
    )
)
def show(
    idea: IdeaId,
    prompt: Annotated[bool, typer.Option("--prompt", help="Print the prompt alone, byte for byte.")] = False,
    home: Home = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> Output:
    """The exact prompt of any attempt, whoever wrote it, with its model calls, its answer and its verdict in short."""
    from kernelwright.agent.exchange.seat import Seat

    seat = Seat(workspace(home, store))
    seen = seat.seen(idea)
    row = _seen_row(seen, seat)
    text = seen.prompt if prompt else _text(row)

    def write(console: Console) -> None:
        console.file.write(text)  # its print would expand tabs

    return Output({"exchange": row}, write)


def _row(sheet: Sheet) -> dict[str, Any]:
    where = {"prompt": str(sheet.prompt), "answer": str(sheet.answer)}
    return {"id": sheet.id, "run": sheet.run, **where, "answered": sheet.answered}


def _seen_row(seen: Seen, seat: Any) -> dict[str, Any]:
    from kernelwright.agent.exchange.seat import brief

    idea = seen.idea
    task = next((t for t in seat.run(idea.run).tasks if t.name == idea.task), None) if seen.verdict is not None else None
    return {
        "id": idea.id,
        "run": idea.run,
        "task": idea.task,
        "attempt": idea.number,
        "stage": idea.stage.value,
        "parent": idea.parent,
        "state": seen.state,
        "model": seen.model,
        "prompt": seen.prompt,
        "calls": [_call_row(call) for call in seen.calls],
        "answer": seen.answer,
        "problem": seen.problem,
        "verdict": brief(seen.verdict, task) if seen.verdict is not None and task is not None else None,
    }


def _call_row(call: Call) -> dict[str, Any]:
    keys = ("id", "role", "model", "request", "text", "problem", "tokens_in", "tokens_out", "cost_usd", "seconds")
    return {key: getattr(call, key) for key in keys}


def _text(row: dict[str, Any]) -> str:
    """For people: the facts, then each text under a line of its own; nothing is cut, nothing is wrapped."""
    facts = [f"{key}: {row[key]}" for key in ("id", "task", "attempt", "stage", "parent", "state", "model") if row[key]]
    parts = ["\n".join(facts)]
    if row["prompt"]:
        parts.append(f"==== prompt\n{row['prompt']}")
    parts += [_call_text(call) for call in row["calls"]]
    if row["answer"]:
        parts.append(f"==== answer\n{row['answer']}")
    if row["problem"]:
        parts.append(f"==== unreadable\n{row['problem']}")
    if row["verdict"] is not None:
        parts.append("==== verdict\n" + _verdict(row["verdict"]))
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def _call_text(call: dict[str, Any]) -> str:
    number = call["id"].rpartition("/")[2]
    cost = "price unknown" if call["cost_usd"] is None else f"{call['cost_usd']:.4f} USD"
    tokens = f"{call['tokens_in']} + {call['tokens_out']} tokens"
    head = f"==== call {number}: {call['role']}, {call['model']}, {tokens}, {cost}, {call['seconds']:.1f} s"
    problem = [f"---- problem: {call['problem']}"] if call["problem"] else []
    return "\n".join([head, _sent(call["request"]), "---- received", call["text"], *problem])


def _sent(request: str) -> str:
    """The messages of a request as they read; the whole body where it is of another form."""
    try:
        messages = json.loads(request)["messages"]
        return "\n".join(f"---- sent as {message['role']}\n{message['content']}" for message in messages)
    except (ValueError, KeyError, TypeError):
        return f"---- sent\n{request}"


def _verdict(verdict: dict[str, Any]) -> str:
    lines = [f"{verdict['status']} at {verdict['stage']}: {verdict['reason']}"]
    for name, value in verdict["speedup"].items():
        lines.append(f"speedup vs {name}: {value['median']:.2f}x [{value['low']:.2f}, {value['high']:.2f}]")
    return "\n".join([*lines, verdict["evidence"]] if verdict["evidence"] else lines)

"""``kernelwright runs``: list the runs and benches of a workspace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from kernelwright.agent.cli.options import AsJson, Home, StoreUrl, example, verb, workspace
from kernelwright.agent.cli.output import Output
from kernelwright.agent.money import usd
from kernelwright.tasks.codec import to_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from kernelwright.memory.records import RunRecord
    from kernelwright.memory.store import Store

app = verb()


@app.command(epilog=example("kernelwright runs\nkernelwright runs --samples\nkernelwright runs --json"))
def runs(
    samples: Annotated[bool, typer.Option("--samples", help="List a bench's samples one by one, too.")] = False,
    home: Home = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> Output:
    """List the runs and benches of the workspace, newest first. A bench stands for the runs of its samples."""
    from kernelwright.agent.bench.listing import benches

    place = workspace(home, store)
    opened = place.open_store()
    try:
        known = {run.id: run for run in opened.runs()}
        listed = benches(place, opened, known)
        owners = {run: bench.bench for bench in listed for run in bench.runs}
        rows = [{**_row(run, opened), "bench": owners.get(run.id)} for run in known.values()]
    finally:
        opened.close()
    found: list[dict[str, Any]] = [to_json(bench) for bench in listed]
    return Output({"runs": rows, "benches": found}, lambda console: _print(rows, found, samples, console))


def _row(run: RunRecord, store: Store) -> dict[str, Any]:
    outcomes = store.outcomes(run.id)
    solved = sum(1 for outcome in outcomes.values() if outcome.status in ("improved", "solved"))
    names = run.names
    keys = ("backend", "model", "policy", "budget")
    config = {key: run.config.get(key) for key in keys}
    cost = store.spent(run.id).cost_usd
    return {"run": run.id, "status": run.status, "created": run.created, **config} | {
        "tasks": names,
        "solved": solved,
        "cost_usd": cost,
    }


def _print(
    rows: Sequence[Mapping[str, Any]], benches: Sequence[Mapping[str, Any]], samples: bool, console: Console
) -> None:
    from rich import box
    from rich.table import Table

    if not rows and not benches:
        console.print("no runs yet: kernelwright optimize --suite quickstart", markup=False, highlight=False)
        return
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("run", no_wrap=True, min_width=max(len(row.get("run") or row["bench"]) for row in (*rows, *benches)))
    for heading in ("status", "created", "backend or suite", "model", "solved", "cost"):
        table.add_column(heading, overflow="fold")
    shown = [(str(row["created"]), row, False) for row in rows if samples or row["bench"] is None]
    shown += [(str(bench["created"]), bench, True) for bench in benches]
    for _, row, is_bench in sorted(shown, key=lambda entry: entry[0], reverse=True):
        table.add_row(*map(str, _of_bench(row) if is_bench else _of_run(row)))
    console.print(table)


def _of_run(row: Mapping[str, Any]) -> tuple[Any, ...]:
    solved = f"{row['solved']} of {len(row['tasks'])}"
    return row["run"], row["status"], row["created"][:16], row["backend"], row["model"], solved, _cost(row)


def _of_bench(row: Mapping[str, Any]) -> tuple[Any, ...]:
    if row["status"] == "unreadable":
        return row["bench"], row["status"], "", "", "", "", ""
    solved = f"{row['solved']} of {row['tasks']}" + (f" in {row['samples']} samples" if row["samples"] > 1 else "")
    return row["bench"], row["status"], row["created"][:16], row["suite"], row["model"], solved, _cost(row)


def _cost(row: Mapping[str, Any]) -> str:
    cost: float | None = row["cost_usd"]
    return "unknown" if cost is None else usd(cost)

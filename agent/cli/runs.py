"""``kernelwright runs``: list the runs of a workspace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kernelwright.agent.cli.options import AsJson, Home, StoreUrl, example, verb, workspace
from kernelwright.agent.cli.output import Output
from kernelwright.agent.money import usd

if TYPE_CHECKING:
    from rich.console import Console

    from kernelwright.memory.records import RunRecord
    from kernelwright.memory.store import Store

app = verb()


@app.command(epilog=example("kernelwright runs\nkernelwright runs --json"))
def runs(home: Home = None, store: StoreUrl = None, as_json: AsJson = False) -> Output:
    """List the runs of the workspace, newest first."""
    opened = workspace(home, store).open_store()
    try:
        rows = [_row(run, opened) for run in opened.runs()]
    finally:
        opened.close()
    return Output({"runs": rows}, lambda console: _print(rows, console))


def _row(run: RunRecord, store: Store) -> dict[str, Any]:
    outcomes = store.outcomes(run.id)
    solved = sum(1 for outcome in outcomes.values() if outcome.status in ("improved", "solved"))
    names = list(run.config.get("order") or [task.name for task in run.tasks])
    keys = ("backend", "model", "policy", "budget")
    config = {key: run.config.get(key) for key in keys}
    cost = store.spent(run.id).cost_usd
    return {"run": run.id, "status": run.status, "created": run.created, **config} | {
        "tasks": names,
        "solved": solved,
        "cost_usd": cost,
    }


def _print(rows: list[dict[str, Any]], console: Console) -> None:
    from rich.table import Table

    if not rows:
        console.print("no runs yet: kernelwright optimize --suite quickstart", markup=False, highlight=False)
        return
    table = Table()
    for heading in ("run", "status", "created", "backend", "model", "solved", "cost"):
        table.add_column(heading, no_wrap=True)
    for row in rows:
        solved = f"{row['solved']} of {len(row['tasks'])}"
        cells = (row["run"], row["status"], row["created"][:19], row["backend"], row["model"], solved, _cost(row))
        table.add_row(*(str(cell) for cell in cells))
    console.print(table)


def _cost(row: dict[str, Any]) -> str:
    cost: float | None = row["cost_usd"]
    return "unknown" if cost is None else usd(cost)

"""``kernelwright bench``: suites and kernels of others, and what recorded runs say about how to run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from kernelwright.agent.cli import bench_results, benching
from kernelwright.agent.cli.figures import interval
from kernelwright.agent.cli.options import AsJson, Home, StoreUrl, example, verb, workspace
from kernelwright.agent.cli.output import Output
from kernelwright.tasks.codec import to_json
from kernelwright.tasks.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from kernelwright.agent.ensemble.members import Member
    from kernelwright.agent.ensemble.selection import Proposal, TooLittle

app = verb()

EXAMPLES = example(
    """
kernelwright bench ensemble 261122-130500-3f2a
kernelwright bench ensemble runs/a/recording.json runs/b/recording.json --attempts 5
kernelwright bench ensemble 261122-130500-3f2a --usd 0.50 --json
"""
)


OF_SUITES = example(
    """
kernelwright bench --suite quickstart --model playbook --samples 3 --attempts 10
kernelwright bench --suite kernelbench --path KernelBench --levels 1,2 --model provider/model --max-usd 50
kernelwright bench --suite kernelbench --path KernelBench --solutions runs/theirs --json
kernelwright resume bench-261122-130500-3f2a
kernelwright bench ensemble 261122-130500-3f2a
"""
)

app.callback(invoke_without_command=True, epilog=OF_SUITES)(benching.bench)
app.command(epilog=bench_results.OF_COMPARE)(bench_results.compare)
app.command(epilog=bench_results.OF_EXPORT)(bench_results.export)


@app.command(epilog=EXAMPLES)
def ensemble(
    runs: Annotated[list[str], typer.Argument(metavar="RUN…", help="Runs by id, or recordings by path, of one device.")],
    attempts: Annotated[
        int | None, typer.Option(help="Attempts a task that the members share; default: the fewest recorded of any.")
    ] = None,
    usd: Annotated[float | None, typer.Option(help="US dollars a task that they share, instead.")] = None,
    weights: Annotated[
        list[str] | None, typer.Option("--weight", metavar="MODEL=W", help="Of a member, for its share; default 1 each.")
    ] = None,
    home: Home = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> Output:
    """Compare the models that wrote in recorded runs, and propose which of them to keep as an ensemble."""
    from kernelwright.agent import recording
    from kernelwright.agent.ensemble.members import figures, read
    from kernelwright.agent.ensemble.selection import Proposal, propose

    if attempts is not None and (attempts < 1 or usd is not None):
        problem = f"--attempts is {attempts}" if attempts < 1 else "--attempts and --usd are given"
        raise InputError(problem, "give one budget, above 0")
    if usd is not None and not usd > 0:
        raise InputError(f"--usd is {usd}", "give one budget, above 0")
    place = workspace(home, store)
    records = read([recording.load(name, place) for name in runs])
    members, found = figures(records), propose(records, attempts, usd, _weights(weights or []))
    proposed = isinstance(found, Proposal)
    data = {
        "runs": sorted({r.outcome.run for r in records.all}),
        "attempts": len(records.all),
        "tasks": len(records.tasks),
        "unit": records.unit,
        "members": [to_json(m) for m in members],
        "proposal": to_json(found) if proposed else None,
        "refused": None if proposed else to_json(found),
    }
    return Output({"ensemble": data}, lambda console: _print(members, found, data, console), 0 if proposed else 1)


def _weights(given: list[str]) -> dict[str, float]:
    weights = {}
    for text in given:
        model, _, figure = text.rpartition("=")
        try:
            weights[model] = float(figure)
        except ValueError:
            weights[model] = 0.0
        if not model or not 0 < weights[model] < float("inf"):
            raise InputError(f"--weight is {text!r}", "give a model and a number above 0, such as provider/model=2")
    return weights


def _print(members: tuple[Member, ...], found: Proposal | TooLittle, data: dict[str, Any], console: Console) -> None:
    from kernelwright.agent.ensemble.selection import TooLittle

    title = f"attempts: {data['attempts']}, tasks: {data['tasks']}, runs: {len(data['runs'])}"
    console.print(_members(members, title))
    if isinstance(found, TooLittle):
        lines = [f"no proposal: {found.reason}", f"needed: {found.needed}"]
    else:
        each = f"${found.budget:g}" if found.budget_unit == "dollars" else f"{found.budget:g} attempts"
        console.print(_steps(found, data["unit"], f"{each} a task, shared by weight; {len(found.tasks)} tasks"))
        lines = [f"{member}: not compared, it has {why}" for member, why in found.left_out.items()]
        lines += [f"{s.member}: {', '.join(s.alike)} might do as well" for s in found.steps if s.keep and s.alike]
        lines.append(f"keep: {','.join(found.keep)}")
        lines.append("intervals: 95 %, over tasks; attempts are taken as independent of each other")
    console.print("\n".join(lines), markup=False, highlight=False)


def _members(members: tuple[Member, ...], title: str) -> Table:
    table = _table(title, "member", "attempts", "solved", "gain", "cost", "gain/$", "gain/Mtok", "K* alone, a task")
    for m in members:
        cost = "unknown" if m.cost_usd is None else f"${m.cost_usd:.4g}"
        rates = (f"{rate:.3g}" if rate is not None else "-" for rate in (m.gain_per_usd, m.gain_per_million_tokens))
        solved = f"{round(m.solved * m.tasks)}/{m.tasks}"
        table.add_row(m.member, str(m.attempts), solved, f"{m.gain:.2f}", cost, *rates, str(m.diversity or "-"))
    return table


def _steps(found: Proposal, unit: str, title: str) -> Table:
    table = _table(title, "with", "keep", "expected best", "added", f"{unit} a task", "K* of all, a task")
    for step in found.steps:
        keep = "yes" if step.keep else "no"
        figures = (interval(step.expected_best), interval(step.added), f"{step.cost:.4g}")
        table.add_row(step.member, keep, *figures, str(step.diversity or "-"))
    return table


def _table(title: str, first: str, *headings: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column(first, overflow="fold")
    for heading in headings:
        table.add_column(heading, justify="right")
    return table

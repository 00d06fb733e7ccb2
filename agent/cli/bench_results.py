"""``kernelwright bench compare`` and ``bench export``: what recorded benches say, here and in other tools."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kernelwright.agent.cli.bench_figures import lines
from kernelwright.agent.cli.figures import interval
from kernelwright.agent.cli.options import AsJson, Home, StoreUrl, example, workspace
from kernelwright.agent.cli.output import Output
from kernelwright.tasks.codec import to_json

if TYPE_CHECKING:
    from rich.console import Console

    from kernelwright.agent.bench.compare import Comparison
    from kernelwright.agent.bench.records import Recorded
    from kernelwright.agent.workspace import Workspace

OF_COMPARE = example(
    """
kernelwright bench compare bench-261122-130500-3f2a bench-261123-090000-77c0
kernelwright bench compare mine.jsonl theirs.jsonl --against compile --json
"""
)
OF_EXPORT = example(
    """
kernelwright bench export bench-261122-130500-3f2a --format kernelbench --level level1 --out runs/mine/eval_results.json
"""
)
_SHOWN = 20


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="A bench by id, or a results.jsonl by path.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The other.")],
    against: Annotated[str, typer.Option(help="Whose speedups: over eager, compile or best.")] = "best",
    across_devices: Annotated[
        bool, typer.Option("--across-devices", help="Compare speedups though the devices differ.")
    ] = False,
    home: Home = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> Output:
    """Compare two benches task by task: who is faster beyond both intervals, and who solves more."""
    from kernelwright.agent.bench.compare import compare as compared

    place = workspace(home, store)
    found = compared(_read(a, place), _read(b, place), against, across_devices=across_devices)
    data = {"compare": {**to_json(found), "counts": dict(found.counts)}}
    return Output(data, lambda console: _print(found, console))


def export(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A results.jsonl by path, or a bench by id.")],
    layout: Annotated[str, typer.Option("--format", help="kernelbench: eval_results.json; upstream: its rule beside ours.")],
    level: Annotated[str | None, typer.Option(help="Of a bench with several.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write there; default: print it.")] = None,
    home: Home = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> Output:
    """Write a bench's results in the layout of another tool. With --json and without --out, it is under `results`."""
    from kernelwright.agent.bench.export import export as exported
    from kernelwright.agent.files import write_text

    results = exported(_read(file, workspace(home, store)), layout, level)
    text = json.dumps(results, indent=4)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_text(out, text + "\n")
    data = {"export": {"format": layout, "out": str(out) if out else None, "results": None if out else results}}
    shown = f"{out}: {len(results.get('kernels', results))} entries" if out else text
    return Output(data, lambda console: console.print(shown, markup=False, highlight=False, soft_wrap=True))


def _read(name: str, place: Workspace) -> Recorded:
    from kernelwright.agent.bench.records import read

    path = Path(name)
    return read(path if path.exists() or path.suffix == ".jsonl" else place.run(name) / "results.jsonl")


def _print(found: Comparison, console: Console) -> None:
    from rich import box
    from rich.table import Table

    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False)

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("task", overflow="fold")
    for heading in ("A", "B", "for A"):
        table.add_column(heading, justify="right")
    for pair in found.pairs:
        cells = (interval(pair.a) if pair.a_solved else "failed", interval(pair.b) if pair.b_solved else "failed")
        table.add_row(pair.task, *cells, pair.outcome)
    say(f"A: {found.a}\nB: {found.b}\nspeedups over {found.baseline}, best of the samples that both have")
    console.print(table)
    if len(found.devices) > 1:
        say(f"different devices: {', '.join(found.devices)}")
    counts = found.counts
    say(f"A against B: {', '.join(f'{counts[o]} {o}' for o in ('win', 'tie', 'loss', 'neither', 'untimed'))}")
    say(f"A's speedup over B's: {interval(found.ratio)} ({found.timed} tasks that both solved)")
    say(f"solved by A alone {found.only_a_solved}, by B alone {found.only_b_solved}; McNemar's p = {found.p_value:.3g}")
    for name, summary in (("A", found.summary_a), ("B", found.summary_b)):
        for line in lines(summary.all, found.baseline) if summary else ():
            say(f"{name}: {line}")
    for name, tasks in (("A", found.only_in_a), ("B", found.only_in_b)):
        if tasks:
            more = f" and {len(tasks) - _SHOWN} more" if len(tasks) > _SHOWN else ""
            say(f"not compared, only in {name}: {', '.join(tasks[:_SHOWN])}{more}")
    say("intervals: 95 %; of a task over its blocks, of a mean over tasks")

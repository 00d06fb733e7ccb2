"""``kernelwright leaderboard``: a static site from results of any number of benches and machines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kernelwright.agent.cli.options import AsJson, Home, StoreUrl, example, verb, workspace
from kernelwright.agent.cli.output import Output
from kernelwright.tasks.codec import to_json
from kernelwright.tasks.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from kernelwright.agent.leaderboard.build import Built

app = verb()

EXAMPLES = example(
    """
kernelwright leaderboard bench-261122-130500-3f2a --out site
kernelwright leaderboard bench-261122-130500-3f2a theirs.jsonl results/ --out site
"""
)


@app.command(epilog=EXAMPLES)
def leaderboard(
    benches: Annotated[
        list[str], typer.Argument(metavar="BENCH|FILE|FOLDER…", help="Benches by id, files of results, folders of such files.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the site: a new one, or that of an earlier site.")],
    home: Home = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> Output:
    """Build a static site: one page of all entries, one of each task with its kernels and their evidence.

    Exit code 1: it is built, and not all that was given is on it.
    """
    from kernelwright.agent.leaderboard.build import build
    from kernelwright.agent.leaderboard.inputs import collect

    inputs, left_out = collect(benches, lambda bench: workspace(home, store).run(bench))
    if not inputs:
        why = "; ".join(f"{one.name}: {one.reason}" for one in left_out)
        raise InputError(f"no results to show: {why}", left_out[0].remedy)
    built = build(inputs, left_out, out)
    data: dict[str, Any] = {"leaderboard": to_json(built)}
    return Output(data, lambda console: _print(built, console), 1 if built.left_out else 0)


def _print(built: Built, console: Console) -> None:
    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False)

    for section in built.sections:
        say(section)
    for one in built.left_out:
        say(f"left out: {one.name}: {one.reason} ({one.remedy})")
    evidence = f"{built.evidence} {'file' if built.evidence == 1 else 'files'} of evidence"
    say(f"{built.entries} entries, {built.tasks} tasks, {evidence}; {built.files} files, {built.bytes / 1e6:.1f} MB")
    say(f"site: {built.index}")

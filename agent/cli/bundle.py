"""``kernelwright bundle``: carry kernels to another machine, and their verdicts back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kernelwright.agent.cli.options import AsJson, Home, StoreUrl, example, verb, workspace
from kernelwright.agent.cli.output import Output
from kernelwright.tasks.codec import to_json

app = verb(
    "Judge the kernels of an `optimize --engine bundle` run on a machine that is not reached from here.",
    "kernelwright bundle create 261122-130500-3f2a --out job",
)


@app.command(epilog=example("kernelwright bundle create 261122-130500-3f2a --out job\nssh gpu 'job/run.sh'"))
def create(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run's id, as `kernelwright runs` lists it.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The bundle: a new folder, or an earlier one of the run.")],
    home: Home = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> Output:
    """Gather the kernels that wait for a verdict into a self-contained folder."""
    from kernelwright.agent.bundle import create as make

    made = make(run, out, workspace(home, store))
    text = f"{made.path}: {made.jobs} jobs, {made.new} new; judge them there with: {made.path}/run.sh"
    return Output({"bundle": to_json(made)}, lambda console: console.print(text, markup=False, highlight=False))


@app.command(epilog=example("kernelwright bundle merge job\nkernelwright resume 261122-130500-3f2a"))
def merge(
    bundle: Annotated[Path, typer.Argument(metavar="DIR", help="The bundle, judged or partly judged.")],
    home: Home = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> Output:
    """Record the verdicts of a bundle, each once; `kernelwright resume RUN` then learns from them and goes on."""
    from kernelwright.agent.bundle import merge as record

    done = record(bundle, workspace(home, store))
    lines = [f"{done.merged} merged, {done.already} known already, {done.missing} not judged yet"]
    lines += [f"{p.attempt}: {p.problem}" for p in done.problems]
    lines.append(f"go on with: kernelwright resume {done.run}")
    text = "\n".join(lines)
    code = 1 if done.problems else 0
    return Output({"bundle": to_json(done)}, lambda console: console.print(text, markup=False, highlight=False), code)

"""``kernelwright bundle``: carry kernels to another machine, and their verdicts back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kernelwright.agent.cli.options import AsJson, Home, StoreUrl, example, verb, workspace
from kernelwright.agent.cli.output import Output
from kernelwright.tasks.codec import to_json
from kernelwright.tasks.errors import InputError

if TYPE_CHECKING:
    from kernelwright.evaluator.seal import Key

app = verb(
    "Judge the kernels of an `optimize --engine bundle` run on a machine that is not reached from here.",
    "kernelwright bundle create 261122-130500-3f2a --out job",
)


CREATE = """
kernelwright bundle create 261122-130500-3f2a --out job
ssh gpu 'job/run.sh'
kernelwright bundle create 261122-130500-3f2a --out job --key key.txt
"""
MERGE = """
kernelwright bundle merge job
kernelwright bundle merge job --key key.txt
kernelwright resume 261122-130500-3f2a
"""


@app.command(epilog=example(CREATE))
def create(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run's id, as `kernelwright runs` lists it.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The bundle: a new folder, or an earlier one of the run.")],
    key: Annotated[Path | None, typer.Option(metavar="FILE", help="Seal the bundle with the key in FILE.")] = None,
    home: Home = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> Output:
    """Gather the kernels that wait for a verdict into a self-contained folder."""
    from kernelwright.agent.bundle import create as make

    made = make(run, out, workspace(home, store), _key(key, out))
    sealed = " --key /its/absolute/path" if key else ""
    text = f"{made.path}: {made.jobs} jobs, {made.new} new; judge them there with: {made.path}/run.sh{sealed}"
    return Output({"bundle": to_json(made)}, lambda console: console.print(text, markup=False, highlight=False))


@app.command(epilog=example(MERGE))
def merge(
    bundle: Annotated[Path, typer.Argument(metavar="DIR", help="The bundle, judged or partly judged.")],
    key: Annotated[Path | None, typer.Option(metavar="FILE", help="The key that the bundle was created with.")] = None,
    unsealed_results: Annotated[
        bool, typer.Option("--unsealed-results", help="With --key: also take results without a seal.")
    ] = False,
    home: Home = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> Output:
    """Record the verdicts of a bundle, each once; `kernelwright resume RUN` then learns from them and goes on."""
    from kernelwright.agent.bundle import merge as record

    if unsealed_results and key is None:
        raise InputError("--unsealed-results is given without --key", "leave it out: nothing is sealed")
    done = record(bundle, workspace(home, store), _key(key, bundle), unsealed_results=unsealed_results)
    lines = [f"{done.merged} merged, {done.already} known already, {done.missing} not judged yet"]
    lines += [f"{p.attempt}: {p.problem}" for p in done.problems]
    lines.append(f"go on with: kernelwright resume {done.run}")
    text = "\n".join(lines)
    code = 1 if done.problems else 0
    return Output({"bundle": to_json(done)}, lambda console: console.print(text, markup=False, highlight=False), code)


def _key(path: Path | None, bundle: Path) -> Key | None:
    from kernelwright.evaluator.seal import Key

    return Key.read(path, bundle) if path is not None else None

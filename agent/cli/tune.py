"""``kernelwright tune``: a whole model, faster end to end."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kernelwright.agent.cli.options import AsJson, Home, StoreUrl, example, verb
from kernelwright.agent.cli.output import Output

if TYPE_CHECKING:
    from rich.console import Console

    from kernelwright.agent.tune.tune import Tuned

app = verb()

EXAMPLES = example(
    """
kernelwright tune model.py:build
kernelwright tune model.py:build --inputs model.py:inputs --budget 40 --model provider/model --max-usd 5
kernelwright tune mypackage.models:Net --mode training --out tuned_net
"""
)
INTERRUPTED = 130


@app.command(epilog=EXAMPLES)
def tune(  # noqa: PLR0913  one argument an option is how typer reads a command line
    target: Annotated[
        str, typer.Argument(metavar="MODEL", help="FILE.py:NAME or package.module:NAME: a function, class or module.")
    ],
    inputs: Annotated[
        str | None, typer.Option(metavar="FILE.py:NAME", help="Example inputs; default: inputs beside the model.")
    ] = None,
    mode: Annotated[str, typer.Option(help="inference or training.")] = "inference",
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the result goes.")] = Path("tuned"),
    backend: Annotated[str | None, typer.Option(help="cpp, triton or cuda; default by the device.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N; default: what is there.")] = None,
    model: Annotated[str | None, typer.Option(help="Writer, as for optimize; default by your keys.")] = None,
    budget: Annotated[int, typer.Option(help="Attempts over all groups.")] = 60,
    turn: Annotated[int, typer.Option(help="Attempts at one group before all are ranked again.")] = 6,
    threshold: Annotated[float, typer.Option(help="Stop when no group may save this share of a pass.")] = 0.01,
    rounds: Annotated[int, typer.Option(help="Interleaved rounds of the end-to-end timing.")] = 30,
    compiled: Annotated[bool, typer.Option("--compile/--no-compile", help="Also time torch.compile of the original.")] = True,
    policy: Annotated[str, typer.Option(help="As for optimize.")] = "evokernel",
    seed: Annotated[int, typer.Option(help="Seed of the search.")] = 0,
    max_usd: Annotated[float | None, typer.Option(help="US dollars that each run of the loop may spend, hard.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Tokens that each run of the loop may spend, hard.")] = None,
    timing_seconds: Annotated[float | None, typer.Option(help="Cap on the timing of one case.")] = None,
    home: Home = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> Output:
    """Find what a model's time goes to, write kernels for it, put them in, and prove the whole right and faster."""
    from kernelwright.agent.cli.interrupt import Interrupt
    from kernelwright.agent.cli.progress import Progress
    from kernelwright.agent.tune.request import Request, carry_out
    from kernelwright.agent.tune.target import load_target

    request = Request(
        mode, out, device, backend, model, budget, turn, threshold, rounds, compiled,
        policy, seed, max_usd, max_tokens, timing_seconds, home, store,
    )  # fmt: skip
    with Interrupt() as interrupt, Progress(interrupt, sys.stderr) as progress:
        tuned = carry_out(request, tuple(sys.argv[1:]), lambda where: load_target(target, inputs, where), progress)
    return _output(tuned, out)


def _output(tuned: Tuned, out: Path) -> Output:
    data: dict[str, Any] = {**tuned.report, "out": str(out)}
    unsolved = any(row["status"] not in ("improved", "solved") for row in tuned.report["tasks"])
    code = INTERRUPTED if tuned.interrupted else 1 if unsolved or not tuned.report["kernels"] else 0
    return Output(data, lambda console: _print(data, console), code)


def _print(data: dict[str, Any], console: Console) -> None:
    from kernelwright.agent.tune.text import markdown

    console.print(markdown(data), markup=False, highlight=False)
    console.print(f"written to {data['out']}/: apply(model), kernels, manifest.json, report.md", markup=False, highlight=False)

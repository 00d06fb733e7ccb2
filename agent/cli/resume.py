"""``kernelwright resume``: go on with a run."""

from __future__ import annotations

from typing import Annotated

import typer

from kernelwright.agent.cli.options import AsJson, Home, StoreUrl, example, verb, workspace
from kernelwright.agent.cli.output import Output

app = verb()


@app.command(epilog=example("kernelwright resume 261122-130500-3f2a\nkernelwright resume 261122-130500-3f2a --json"))
def resume(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run's id, as `kernelwright runs` lists it, or a bench's.")],
    home: Home = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> Output:
    """Go on with a run or a bench where its last commit left it; nothing is spent twice. A finished one is only shown."""
    from kernelwright.agent.bench import plan
    from kernelwright.agent.cli.work import work
    from kernelwright.agent.run import resume as go_on

    place = workspace(home, store)
    if plan.is_bench(run, place):
        from kernelwright.agent.cli import benching

        return benching.go_on(plan.load(run, place), place)
    return work(lambda watch: go_on(run, place, watch), place)

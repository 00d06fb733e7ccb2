"""``kernelwright report``: write a run's report again."""

from __future__ import annotations

from typing import Annotated

import typer

from kernelwright.agent.cli.options import AsJson, Home, StoreUrl, example, verb, workspace
from kernelwright.agent.cli.output import Output

app = verb()


@app.command(epilog=example("kernelwright report 261122-130500-3f2a"))
def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run's id, as `kernelwright runs` lists it.")],
    home: Home = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> Output:
    """Write the HTML report of a run again, from the store."""
    from kernelwright.agent.run import report as rewrite

    place = workspace(home, store)
    rewrite(run, place)
    path = str(place.run(run) / "report.html")
    return Output({"run": run, "report": path}, lambda console: console.print(path, markup=False, highlight=False))

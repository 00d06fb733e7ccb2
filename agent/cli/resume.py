"""``kernelwright resume``: go on with a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from kernelwright.agent.cli.options import AsJson, Home, RayAddress, StoreUrl, at_cluster, example, verb, workspace
from kernelwright.agent.cli.output import Output

if TYPE_CHECKING:
    from kernelwright.agent.workspace import Workspace

app = verb()


@app.command(epilog=example("kernelwright resume 261122-130500-3f2a\nkernelwright resume 261122-130500-3f2a --json"))
def resume(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run's id, as `kernelwright runs` lists it, or a bench's.")],
    ray_address: RayAddress = None,
    home: Home = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> Output:
    """Go on with a run or a bench where its last commit left it; nothing is spent twice. A finished one is only shown.

    A run or a bench on a Ray cluster joins the one it was begun on, unless --ray-address or the environment names another.
    """
    from kernelwright.agent.bench import plan
    from kernelwright.agent.cli.work import work
    from kernelwright.agent.run import resume as go_on

    place = workspace(home, store)
    if plan.is_bench(run, place):
        from kernelwright.agent.cli import benching

        begun = plan.load(run, place)
        at_cluster(ray_address, otherwise=begun.config.ray_address)
        return benching.go_on(begun, place)
    at_cluster(ray_address, otherwise=_begun_on(run, place))
    return work(lambda watch: go_on(run, place, watch), place)


def _begun_on(run: str, place: Workspace) -> str | None:
    """The cluster that a run was begun on, where it was on one that was there before it."""
    store = place.open_store()
    try:
        address: str | None = store.config(run).get("ray_address")
        return address
    finally:
        store.close()

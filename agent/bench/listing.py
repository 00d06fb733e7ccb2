"""The benches of a workspace, each as one line: what it was asked for and how far it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kernelwright.agent.bench.plan import BENCH_FILE, load
from kernelwright.agent.bench.upstream import Beside
from kernelwright.agent.workspace import Workspace
from kernelwright.memory.records import RunRecord
from kernelwright.memory.spending import total
from kernelwright.memory.store import Store
from kernelwright.tasks.errors import InputError


@dataclass(frozen=True)
class Listed:
    """A bench as it stands. One whose plan cannot be read has its name and ``unreadable`` alone."""

    bench: str
    status: str
    """``finished``, ``running`` (or killed in that state), ``interrupted``, ``waiting``, ``not begun``; ``unreadable``."""
    created: str = ""
    suite: str = ""
    model: str = ""
    samples: int = 0
    tasks: int = 0
    """Those that have a sample; entries of the suite that make no task are not among them."""
    solved: int = 0
    """Tasks solved in any sample."""
    cost_usd: float | None = None
    """None where a price is unknown."""
    runs: tuple[str, ...] = ()
    """Ids of the runs that it has begun."""
    reason: str = ""


def benches(workspace: Workspace, store: Store, runs: Mapping[str, RunRecord]) -> list[Listed]:
    """Every bench of the workspace, newest first. ``runs``: the store's, by id."""
    names = sorted(path.parent.name for path in workspace.home.glob(f"runs/*/{BENCH_FILE}"))
    found = [_listed(name, workspace, store, runs) for name in names]
    return sorted(found, key=lambda bench: (bench.created, bench.bench), reverse=True)


def _listed(name: str, workspace: Workspace, store: Store, runs: Mapping[str, RunRecord]) -> Listed:
    try:
        plan = load(name, workspace)
    except (InputError, ValueError, OSError) as error:
        return Listed(name, "unreadable", reason=str(error))
    parts, beside = plan.parts(), Beside(plan, workspace)
    begun = [part.run for part in parts if part.run in runs]
    solved = {
        task for run in begun for task, outcome in store.outcomes(run).items() if outcome.status in ("improved", "solved")
    }
    statuses = {runs[run].status for run in begun}
    if not begun:
        status = "not begun"
    elif statuses == {"finished"}:
        whole = len(begun) == len(parts) and not any(beside.missing(part) for part in parts)
        status = "finished" if whole else "interrupted"
    else:
        status = next(iter(sorted(statuses - {"finished"})))
    return Listed(
        bench=name,
        status=status,
        created=plan.created,
        suite=plan.suite,
        model=plan.model,
        samples=plan.samples,
        tasks=len({task.name for part in parts for task in part.tasks}),
        solved=len(solved),
        cost_usd=total(store.spent(run) for run in begun).cost_usd,
        runs=tuple(begun),
    )

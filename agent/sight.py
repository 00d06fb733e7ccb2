"""A run at a glance, from the store: what `watch` shows, whoever works on the run and wherever."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kernelwright.agent.control import GO, wished
from kernelwright.agent.recording import device_of
from kernelwright.agent.workspace import Workspace
from kernelwright.evaluator.device import DeviceInfo
from kernelwright.memory import outline
from kernelwright.memory.outline import Outline
from kernelwright.memory.records import Spent
from kernelwright.memory.spending import total
from kernelwright.memory.store import Store
from kernelwright.tasks.errors import InputError
from kernelwright.tasks.records import Interval

ERRORS = 5


@dataclass(frozen=True)
class Seen:
    """One task of a run."""

    task: str
    status: str
    """Its outcome's; ``running`` while there are attempts and none, ``to come`` before that."""
    attempts: int
    """That were asked, those in flight included."""
    passed: int
    in_flight: int
    best: Outline | None

    @property
    def latency(self) -> Interval | None:
        return self.best.latency if self.best else None


@dataclass(frozen=True)
class Sight:
    """A run as it stands."""

    run: str
    status: str
    working: bool
    """A process of this workspace is at work on it."""
    wish: str
    """``pause``, ``stop`` or ``go``: what that process was asked last."""
    budget: int
    """Attempts a task."""
    writer: str
    backend: str
    policy: str
    limits: Mapping[str, float | None]
    seconds: float
    """That processes have worked on it, up to the last one's end."""
    spent: Spent
    device: DeviceInfo | None
    tasks: tuple[Seen, ...] = field(default=())
    errors: tuple[Outline, ...] = ()
    """The last attempts that came to nothing."""

    @property
    def over(self) -> bool:
        """Whether nothing will change by itself."""
        return not self.working


def newest(store: Store) -> str:
    """The run that was begun last.

    Raises:
        InputError: there is none.
    """
    with store.read() as tx:
        found = outline.run_lines(tx, 1)
    if not found:
        raise InputError("no run is there to watch", "start one: kernelwright optimize --suite quickstart")
    return found[0].run


def look(run: str, workspace: Workspace, store: Store) -> Sight:
    """The run with this id.

    Raises:
        UnknownName: there is none.
    """
    row, outcomes = store.run(run), store.outcomes(run)
    working = workspace.held(run)
    with store.read() as tx:
        tallies = outline.tallies(tx, run, {name: outcome.best for name, outcome in outcomes.items()})
        errors = outline.rejected(tx, run, ERRORS)
    tasks = []
    for name in dict.fromkeys([*(task.name for task in row.tasks), *outcomes]):
        tally, outcome = tallies.get(name, outline.Tally({}, None)), outcomes.get(name)
        status = outcome.status if outcome else row.status if tally.asked else "to come"
        tasks.append(Seen(name, status, tally.asked, tally.passed, tally.counts.get(outline.WAITING, 0), tally.best))
    config = row.config
    return Sight(
        run=run,
        status=row.status,
        working=working,
        wish=wished(run, workspace) if working else GO,
        budget=int(config.get("budget") or 0),
        writer=str(config.get("model", "")),
        backend=str(config.get("backend", "")),
        policy=str(config.get("policy", "")),
        limits={name: value for name, value in dict(config.get("limits") or {}).items() if value is not None},
        seconds=store.seconds(run),
        spent=total(line.spent for line in store.ledger(run)),
        device=device_of(run, workspace),
        tasks=tuple(tasks),
        errors=errors,
    )

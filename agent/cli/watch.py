"""``kernelwright watch``: a run on the terminal while somebody else works on it, and a hand on it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kernelwright.agent.cli.options import AsJson, Home, StoreUrl, example, verb, workspace
from kernelwright.agent.cli.output import Output
from kernelwright.tasks.codec import to_json
from kernelwright.tasks.errors import InputError, KernelwrightError

if TYPE_CHECKING:
    from kernelwright.agent.sight import Sight
    from kernelwright.agent.workspace import Workspace
    from kernelwright.memory.store import Store

app = verb()

KEYS = (
    "p pause or go on · s stop · + five attempts more a task · q leave\n"
    "half as much again: $ money, m money a task, t tokens, w time"
)
MORE = 5
LIMITS = {"$": "usd", "m": "task_usd", "t": "tokens", "w": "seconds"}
"""Key -> the limit that it raises by half."""
LOOKS_A_SECOND = 4


@app.command(
    epilog=example("kernelwright watch\nkernelwright watch 261122-130500-3f2a --pause\nkernelwright watch RUN --budget 50 --go")
)
def watch(  # noqa: PLR0913  one argument an option is how typer reads a command line
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="The run's id; default: the newest.")] = None,
    pause: Annotated[bool, typer.Option("--pause", help="Ask the run to finish what is in flight, and wait.")] = False,
    go: Annotated[bool, typer.Option("--go", help="Ask a paused run to go on.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Ask the run to end as Ctrl-C would; `resume` goes on.")] = False,
    budget: Annotated[int | None, typer.Option(help="Raise the attempts a task, of tasks without an outcome.")] = None,
    max_usd: Annotated[float | None, typer.Option(help="Raise the US dollars that the run may spend.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Raise its tokens, in and out.")] = None,
    max_seconds: Annotated[float | None, typer.Option(help="Raise its wall time.")] = None,
    task_usd: Annotated[float | None, typer.Option(help="Raise the US dollars a task that a bench gave it.")] = None,
    home: Home = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> Output:
    """Watch a run: tasks, attempts, best latencies, budget, device, errors. Reads the store; the run may be any process's.

    On a terminal it is shown live, and keys pause (p), stop (s), allow more attempts (+), money ($), money a task (m),
    tokens (t) or time (w), or leave (q). Elsewhere, and with --json, it is shown once.
    """
    from kernelwright.agent import control
    from kernelwright.agent.sight import look, newest

    place = workspace(home, store)
    opened = place.open_store()
    try:
        id_ = opened.run(run).id if run is not None else newest(opened)
        wishes = [w for w, asked in ((control.PAUSE, pause), (control.GO, go), (control.STOP, stop)) if asked]
        if len(wishes) > 1:
            raise InputError(f"a run cannot be asked to {' and '.join(wishes)}", "give one of --pause, --go, --stop")
        if budget is not None:
            control.raise_budget(id_, budget, place)
        limits = {"usd": max_usd, "tokens": max_tokens, "seconds": max_seconds, "task_usd": task_usd}
        raised = any(value is not None for value in limits.values())
        if raised:
            control.raise_limits(id_, limits, place)
        for wish in wishes:
            control.ask(id_, wish, place)
        commanded = bool(wishes) or budget is not None or raised
        if not as_json and not commanded and sys.stdout.isatty() and sys.stdin.isatty():
            _live(id_, place, opened)
        seen = look(id_, place, opened)
    finally:
        opened.close()
    return Output({"watch": _json(seen)}, lambda console: console.print(_shown(seen)))


def _json(seen: Sight) -> dict[str, Any]:
    data: dict[str, Any] = to_json(seen)
    return data


def _live(run: str, place: Workspace, store: Store) -> None:
    """Until the run is over or the person leaves."""
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    from kernelwright.agent.cli.keys import Keys
    from kernelwright.agent.sight import look

    said = ""
    with Keys() as keys, Live(refresh_per_second=LOOKS_A_SECOND, transient=True) as live:
        while True:
            seen = look(run, place, store)
            live.update(Group(_shown(seen), Text(said or KEYS, style="dim")), refresh=True)
            if seen.over:
                return
            key = keys.next(1 / LOOKS_A_SECOND)
            if key == "q":
                return
            if key:
                said = _heed(key, seen, place)


def _heed(key: str, seen: Sight, place: Workspace) -> str:
    """Do what a key stands for; returns what to say of it."""
    from kernelwright.agent import control

    try:
        if key == "p":
            wish = control.GO if seen.wish == control.PAUSE else control.PAUSE
            control.ask(seen.run, wish, place)
            return "asked to go on" if wish == control.GO else "asked to pause: what is in flight is finished"
        if key == "s":
            control.ask(seen.run, control.STOP, place)
            return "asked to stop: what is in flight is finished"
        if key == "+":
            control.raise_budget(seen.run, seen.budget + MORE, place)
            return f"{seen.budget + MORE} attempts a task from now on"
        if key in LIMITS:
            name, limit = LIMITS[key], seen.limits.get(LIMITS[key])
            if limit is None:
                return f"the run has no limit of {name}"
            more = int(limit * 1.5 + 0.5) if name == "tokens" else limit * 1.5
            control.raise_limits(seen.run, {name: more}, place)
            return f"up to {more:g} {name} from now on"
    except KernelwrightError as error:
        return f"{error.message}: {error.remedy}"
    return KEYS


def _shown(seen: Sight) -> Any:
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from kernelwright.agent.cli.figures import spent_in_words
    from kernelwright.agent.leaderboard.untrusted import line
    from kernelwright.agent.report.text import duration_interval, ratio, seconds

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("task", overflow="fold", min_width=16)
    for heading in ("status", "attempts", "passed", "in flight", "best latency", "vs eager"):
        table.add_column(heading, justify="left" if heading == "status" else "right")
    for task in seen.tasks:
        figures = (duration_interval(task.latency), ratio(task.best.speedup if task.best else None))
        counts = (f"{task.attempts}/{seen.budget}", str(task.passed), str(task.in_flight))
        table.add_row(Text(line(task.task)), task.status, *counts, *figures)
    device = seen.device.name if seen.device else "device not known yet"
    limits = "".join(f", {name} {value:g}" for name, value in seen.limits.items())
    spent = f"spent: {spent_in_words(seen.spent)}{limits}; worked on for {seconds(seen.seconds)}"
    head = f"run {seen.run}: {_state(seen)} · {line(seen.writer)} · {line(seen.backend)} · {line(seen.policy)} · {line(device)}"
    errors = [f"  {e.id}: {e.status}: {line(e.reason)}" for e in seen.errors]
    lines = [spent, *(["last to come to nothing:"] if errors else []), *errors]
    return Group(Text(head), table, *(Text(text, no_wrap=True, overflow="ellipsis") for text in lines))


def _state(seen: Sight) -> str:
    """``running``, or what it was asked; a run that nobody works on although it says so was killed."""
    if not seen.working:
        return f"{seen.status}, nobody at work" if seen.status == "running" else seen.status
    flying = any(task.in_flight for task in seen.tasks)
    if seen.wish == "pause":
        return "pausing" if flying else "paused"
    return "stopping" if seen.wish == "stop" else seen.status

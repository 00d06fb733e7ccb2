"""Records to one HTML file with nothing to fetch: style and drawings are inside, and it holds no script."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

from kernelwright.agent.ensemble.diversity import Diversity
from kernelwright.agent.files import write_text
from kernelwright.agent.report import charts, text
from kernelwright.agent.report.graph import search_graph
from kernelwright.agent.report.highlight import highlight
from kernelwright.agent.report.prompts import prompts
from kernelwright.agent.report.view import baselines, costs, geometric_mean, run_views, spending
from kernelwright.memory.records import Line, RunRecord, Step, TaskOutcome

if TYPE_CHECKING:
    from kernelwright.evaluator.device import DeviceInfo

_TOLD_ELSEWHERE = ("argv", "order", "refused")


def write_report(
    run: RunRecord,
    steps: Sequence[Step],
    outcomes: Mapping[str, TaskOutcome],
    path: Path,
    devices: Sequence[DeviceInfo] = (),
    ledger: Sequence[Line] = (),
    diversity: Diversity | None = None,
) -> None:
    """Write the page of ``run`` to ``path``, whole or not at all.

    ``steps`` are those of all tasks. Kernels found under ``best/<task>/`` beside ``path`` are linked.

    Raises:
        WorkspaceError: the place cannot be written.
    """
    found = {task.name: _exported(path.parent, task.slug) for task in run.tasks}
    write_text(path, render_report(run, steps, outcomes, devices, found, ledger, diversity))


def render_report(
    run: RunRecord,
    steps: Sequence[Step],
    outcomes: Mapping[str, TaskOutcome],
    devices: Sequence[DeviceInfo] = (),
    files: Mapping[str, tuple[str, ...]] | None = None,
    ledger: Sequence[Line] = (),
    diversity: Diversity | None = None,
) -> str:
    """The page as text. ``files`` are links to each task's exported kernel, relative to the page."""
    tasks = run_views(run, steps, outcomes, files or {})
    timed = [(t, t.timing) for t in tasks if t.solved and t.timing]
    own = [(t, timing) for t, timing in timed if not t.with_library]
    apart = [(t, timing) for t, timing in timed if t.with_library]
    several = len({t.task.target for t, _ in timed}) > 1  # no mean over devices and languages that do not compare
    return (
        _reports()
        .get_template("report.html.j2")
        .render(
            run=run,
            devices=devices,
            tasks=tasks,
            solved=[t for t in tasks if t.solved],
            failed=[t for t in tasks if not t.solved],
            unloaded=[outcomes[name] for name in outcomes if name not in {t.task.name for t in tasks}],
            own=[] if several else own,
            apart=[] if several else apart,
            names=baselines([timing for _, timing in timed]),
            mean=lambda rows, name: geometric_mean([t.speedup[name] for _, t in rows if name in t.speedup]),
            overview=charts.overview_chart([(view.task.name, timing) for view, timing in timed]),
            costs=costs(steps),
            spending=spending(ledger),
            diversity=diversity,
            config=text.pairs({k: v for k, v in run.config.items() if k not in _TOLD_ELSEWHERE}),
            command=text.command_line(["kernelwright", *run.config.get("argv", ())]),
            created=run.created[:19].replace("T", " "),
        )
    )


def _exported(folder: Path, slug: str) -> tuple[str, ...]:
    best = folder / "best" / slug
    files = sorted((p for p in best.rglob("*") if p.is_file()), key=lambda p: (p.suffix != ".py", p))
    return tuple(p.relative_to(folder).as_posix() for p in files)


@functools.cache
def _reports() -> jinja2.Environment:
    """One for the process: an environment parses each template once."""
    return environment()


def environment(*folders: Path) -> jinja2.Environment:
    """Templates of this folder, and of ``folders`` before it, with the report's filters and drawings; all text is escaped."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, Path(__file__).parent]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        duration=text.duration,
        duration_interval=text.duration_interval,
        ratio=text.ratio,
        ratio_interval=text.ratio_interval,
        percent=text.percent,
        small=text.small,
        dollars=text.dollars,
        seconds=text.seconds,
        pairs=text.pairs,
        facts=text.facts,
        highlight=highlight,
    )
    drawings: dict[str, Any] = {
        "search_graph": search_graph,
        "anchors": lambda slug: lambda number: f"#{slug}-{number}",
        "latency_chart": charts.latency_chart,
        "speedup_chart": charts.speedup_chart,
        "roofline_chart": charts.roofline_chart,
        "prompts_of": lambda attempts: prompts((a.number, a.id, a.prompt, a.won) for a in attempts),
    }
    made.globals.update(drawings)
    return made

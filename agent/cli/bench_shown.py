"""A bench on the terminal and for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kernelwright.tasks.codec import to_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from kernelwright.agent.bench.results import Record
    from kernelwright.agent.bench.run import Standing

_STATUSES = ("improved", "solved", "unsolved", "refused")
SHOWN = 20
"""Names of a list that are printed; --json has them all."""


def data(standing: Standing, *, interrupted: bool) -> dict[str, Any]:
    """The bench as the one object of ``--json``."""
    from kernelwright.agent.bench.metrics import summarise
    from kernelwright.agent.bench.records import parse
    from kernelwright.agent.bench.results import header

    counts = Counter(record["status"] for record in standing.records)
    status = "finished" if standing.finished else "interrupted" if interrupted else "waiting"
    return {
        "bench": standing.plan.id,
        "status": status,
        "config": dict(header(standing.plan)),
        "counts": dict(counts),
        "summary": to_json(summarise([parse(record) for record in standing.records])),
        "wanted": standing.wanted,
        "upstream_not_held": _not_held(standing.records),
        "results": str(standing.path),
        "records": [dict(record) for record in standing.records],
    }


def show(standing: Standing, data: Mapping[str, Any], console: Console) -> None:
    """The table, what was left out with its reasons, and where the results are."""

    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False)

    plan, config = standing.plan, data["config"]
    say(f"{plan.id}: {plan.suite}, {plan.model}, {data['status']}, {len(standing.records)} of {standing.wanted} ended")
    if standing.records:
        console.print(_statuses(standing.records))
        _speeds(data["summary"]["all"], console)
        _upstream(data, say)
    for note in plan.notes:
        say(f"note: {note}")
    _name("no upstream figure", plan.no_rule, say)
    _name("left out", plan.left_out, say)
    _name("not judged", plan.unknown, say)
    if config.get("without_solution"):
        say(f"{len(config['without_solution'])} of {len(plan.tasks)} selected tasks have no solution and are in no figure")
    say(f"results: {data['results']}")
    if not standing.finished:
        say(f"{data['status']}; go on with: kernelwright resume {plan.id}")


def _not_held(records: Sequence[Record]) -> list[dict[str, Any]]:
    """What passes by the suite's own rule and not with us, and what our judge said."""
    found = [r for r in records if (r["upstream"] or {}).get("correct") and not r["correct"]]
    keys = ("task", "sample", "solution", "status", "verdicts", "reason")
    return [{key: r[key] for key in keys if key in r} for r in found]


def _upstream(data: Mapping[str, Any], say: Callable[[str], None]) -> None:
    """What the suite's own rule says of the same kernels, and what of that does not hold with us."""
    figures, header = data["summary"]["all"]["upstream"], data["config"].get("upstream")
    if header is None:
        return
    for stated in header["stated"]:
        say(f"upstream's rule: {stated}")
    for omitted in header["not_computed"]:
        say(f"upstream's rule, not computed: {omitted}")
    unknown = [r for r in data["records"] if r["upstream"] and r["upstream"]["correct"] is None]
    _name("no upstream figure", {_called(r): r["upstream"]["detail"] for r in unknown}, say)
    if figures is None:
        say("upstream: no figure")
        return
    say(f"upstream: {figures['passes']} of {figures['judged']} samples pass; {figures['not_held']} of these do not hold here")
    _name("passes upstream only", {_called(r): r["reason"] for r in data["upstream_not_held"]}, say)
    if figures["only_here"]:
        say(f"upstream: {figures['only_here']} that pass here fail by its rule")
    if figures["fast"]:
        fast = ", ".join(f"fast_{p} {_share(share)}" for p, share in figures["fast"].items())
        say(f"upstream, by its own clock over the reference: {fast}")


def _called(record: Record) -> str:
    """A task and sample, or the file that was handed in."""
    which = record.get("solution") or f"sample {record['sample']}"
    return f"{record['task']}, {which}"


def _name(what: str, entries: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Entries with their reasons, a line each."""
    for name, why in list(entries.items())[:SHOWN]:
        say(f"{what}: {name}: {why}")
    if len(entries) > SHOWN:
        say(f"{what}: {len(entries) - SHOWN} more, see --json")


def _statuses(records: Sequence[Record]) -> Table:
    """How the samples ended, by level; a task counts as solved where one of its samples did."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("level", overflow="fold")
    for heading in ("tasks", "solved in any", "samples", *_STATUSES, "compiled"):
        table.add_column(heading, justify="right")
    levels = sorted({record["level"] for record in records})
    for level in (*levels, "all") if len(levels) > 1 else levels:
        own = [record for record in records if level in ("all", record["level"])]
        counts = Counter(record["status"] for record in own)
        solved = len({record["task"] for record in own if record["correct"]})
        cells = (len({record["task"] for record in own}), solved, len(own), *(counts[status] for status in _STATUSES))
        table.add_row(level or "-", *map(str, cells), str(sum(record["compiled"] for record in own)))
    return table


def _speeds(figures: Mapping[str, Any], console: Console) -> None:
    """fast_p against each baseline, and what one sample and several of them solve."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("against")
    for fast in figures["against"]["best"]["fast"]:
        table.add_column(f"fast_{fast['p']:g}", justify="right")
    table.add_column("geometric mean", justify="right")
    for baseline, against in figures["against"].items():
        timed = against["measured"] > 0 or against["unmeasured"] == 0
        shares = (_share(f["share"]).replace(" [", "\n[") if timed or f["p"] == 0 else "not timed" for f in against["fast"])
        table.add_row(baseline, *shares, _times(against))
    console.print(table)
    rates = {"compiled": figures["compiled"], "correct": figures["correct"]}
    rates |= {f"pass@{k}": share for k, share in figures["pass_at"].items() if k != "1"}
    said = ", ".join(f"{name} {_share(share)}" for name, share in rates.items())
    note = "intervals: 95 %, over tasks; a failure is in every rate and in no mean"
    console.print(f"{said}\n{note}", markup=False, highlight=False)


def _share(value: Mapping[str, float]) -> str:
    return f"{value['median']:.0%} [{value['low']:.0%}, {value['high']:.0%}]"


def _times(against: Mapping[str, Any]) -> str:
    """The geometric mean of the tasks that were solved and timed, and of how many; one task has no interval over tasks."""
    mean = against["geomean"]
    if mean is None:
        return "-"
    over = f"{mean['median']:.2f}x over {against['measured']}"
    return f"{over}\n[{mean['low']:.2f}, {mean['high']:.2f}]" if against["measured"] > 1 else over

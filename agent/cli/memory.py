"""``kernelwright memory``: what was learned, its values, its archive, and the index that finds it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kernelwright.agent.cli.memory_shown import entry_row, entry_text, found_row, listing_text, moved_text, shown, stats_text
from kernelwright.agent.cli.options import AsJson, Home, StoreUrl, example, verb, workspace
from kernelwright.agent.cli.output import Output
from kernelwright.tasks.codec import to_json
from kernelwright.tasks.errors import InputError

if TYPE_CHECKING:
    from kernelwright.memory.catalog import Filter
    from kernelwright.memory.memory import Memory

app = verb("What was learned: experiences, their values, and the index that finds them.", "kernelwright memory stats")

Kind = Annotated[str | None, typer.Option(help="Only this kind: api, practice, success, failure, trace.")]
Stage = Annotated[str | None, typer.Option(help="Only what was learned at this stage: draft, refine.")]
Backend = Annotated[str | None, typer.Option(help="Only of this backend.")]
Device = Annotated[str | None, typer.Option(help="Only of this device, by its full name.")]
Family = Annotated[str | None, typer.Option("--family", "--op-family", help="Only of this op family.")]
OfTask = Annotated[str | None, typer.Option("--task", help="Only of this task: its name, or the end of it.")]
Archived = Annotated[bool, typer.Option("--archived", help="What is recalled no more, in place of what is.")]


@app.command(epilog=example("kernelwright memory stats"))
def stats(home: Home = None, store: StoreUrl = None, as_json: AsJson = False) -> Output:
    """How much the memory holds."""
    with _memory(home, store) as memory:
        held: dict[str, Any] = to_json(memory.stats())
    return Output({"memory": held}, shown(stats_text(held)))


@app.command(name="list", epilog=example("kernelwright memory list --kind failure --backend cpp"))
def list_(  # noqa: PLR0913  options
    kind: Kind = None,
    stage: Stage = None,
    backend: Backend = None,
    device: Device = None,
    family: Family = None,
    task: OfTask = None,
    archived: Archived = False,
    n: Annotated[int, typer.Option("-n", help="How many.")] = 50,
    home: Home = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> Output:
    """The experiences, newest first."""
    only = _filter(kind, stage, backend, device, family, task, archived)
    with _memory(home, store) as memory:
        entries, total = memory.listing(only, _positive(n))
    rows = [entry_row(entry) for entry in entries]
    return Output({"memory": rows, "total": total}, shown(listing_text(rows, total)))


@app.command(epilog=example("kernelwright memory show 251130-101500-ab12-3f9c01-004"))
def show(
    id_: Annotated[str, typer.Argument(metavar="ID", help="An experience's id, or its beginning.")],
    home: Home = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> Output:
    """One experience in full: lesson, code, where it comes from, and what it is worth where."""
    with _memory(home, store) as memory:
        entry = memory.entry(id_)
    return Output({"memory": entry_row(entry, whole=True)}, shown(entry_text(entry)))


@app.command(epilog=example('kernelwright memory search "row softmax, bound by memory" --backend cpp'))
def search(  # noqa: PLR0913  options
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to look for.")],
    kind: Kind = None,
    stage: Stage = None,
    backend: Annotated[str | None, typer.Option(help="Only what this backend can use.")] = None,
    device: Device = None,
    family: Family = None,
    task: OfTask = None,
    n: Annotated[int, typer.Option("-n", help="How many.")] = 10,
    home: Home = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> Output:
    """The experiences nearest to a text, with their values."""
    only = _filter(kind, stage, None, device, family, task)
    with _memory(home, store) as memory:
        found = memory.search(text, backend, _positive(n), only)
    rows = [found_row(item) for item in found]
    lines = [f"{row['similarity']:.2f}  Q {row['q']:+.2f}  {row['kind']}  {row['lesson'] or row['id']}" for row in rows]
    return Output({"memory": rows}, shown("\n".join(lines) or "nothing found"))


@app.command(epilog=example("kernelwright memory export lessons.jsonl --backend triton"))
def export(  # noqa: PLR0913  options
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write.")],
    kind: Kind = None,
    stage: Stage = None,
    backend: Backend = None,
    device: Device = None,
    family: Family = None,
    task: OfTask = None,
    archived: Archived = False,
    home: Home = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> Output:
    """Write what was learned to one file, for another machine."""
    only = _filter(kind, stage, backend, device, family, task, archived)
    with _memory(home, store) as memory:
        moved = memory.export(file, only)
    data = {"file": str(file), "experiences": moved.experiences, "values": moved.values, "elsewhere": moved.elsewhere}
    away = f"; {moved.elsewhere} traces left out, their code lies on another machine" if moved.elsewhere else ""
    line = f"{moved.experiences} experiences and {moved.values} values written to {file}{away}"
    return Output({"memory": data}, shown(line))


@app.command(name="import", epilog=example("kernelwright memory import lessons.jsonl"))
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file that `memory export` wrote.")],
    home: Home = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> Output:
    """Merge what another machine learned, all of the file or nothing; a second time changes nothing."""
    with _memory(home, store) as memory:
        moved = memory.take_in(file)
    return Output({"memory": {"file": str(file), **to_json(moved)}}, shown(moved_text(moved)))


@app.command(epilog=example("kernelwright memory restore 251130-101500-ab12-3f9c01-004"))
def restore(
    ids: Annotated[list[str], typer.Argument(metavar="ID…", help="Ids of `memory list --archived`.")],
    home: Home = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> Output:
    """Let archived experiences be recalled again."""
    with _memory(home, store) as memory:
        memory.restore(ids)
    return Output({"memory": {"restored": list(dict.fromkeys(ids))}}, shown(f"{len(set(ids))} restored"))


@app.command(epilog=example("kernelwright memory rebuild"))
def rebuild(home: Home = None, store: StoreUrl = None, as_json: AsJson = False) -> Output:
    """Make the index anew from the store, which holds the truth."""
    with _memory(home, store) as memory:
        count = memory.rebuild()
    return Output({"memory": {"indexed": count}}, shown(f"{count} experiences indexed"))


@contextmanager
def _memory(home: Path | None, store: str | None) -> Iterator[Memory]:
    memory = workspace(home, store).open_memory()
    try:
        yield memory
    finally:
        memory.close()


def _filter(
    kind: str | None,
    stage: str | None,
    backend: str | None,
    device: str | None,
    family: str | None,
    task: str | None,
    archived: bool = False,
) -> Filter:
    from kernelwright.memory.catalog import Filter

    return Filter(kind, stage, backend, device, family, task, archived)


def _positive(n: int) -> int:
    if n < 1:
        raise InputError(f"-n is {n}", "give a whole number of at least 1")
    return n

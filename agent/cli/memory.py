"""``kernelwright memory``: look into the memory, or rebuild its index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from kernelwright.agent.cli.options import AsJson, Home, StoreUrl, example, verb, workspace
from kernelwright.agent.cli.output import Output
from kernelwright.tasks.codec import to_json
from kernelwright.tasks.errors import InputError

if TYPE_CHECKING:
    from kernelwright.memory.records import Recalled

app = verb("What was learned: experiences, their values, and the index that finds them.", "kernelwright memory stats")


@app.command(epilog=example("kernelwright memory stats"))
def stats(home: Home = None, store: StoreUrl = None, as_json: AsJson = False) -> Output:
    """How much the memory holds."""
    memory = workspace(home, store).open_memory()
    try:
        held: dict[str, Any] = to_json(memory.stats())
    finally:
        memory.close()
    lines = [f"{name}: {value}" for name, value in held.items() if not isinstance(value, dict)]
    lines += [f"  {kind}: {count}" for kind, count in held["kinds"].items()]
    return Output({"memory": held}, lambda console: console.print("\n".join(lines), markup=False, highlight=False))


@app.command(epilog=example('kernelwright memory search "row softmax, bound by memory" --backend cpp'))
def search(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to look for.")],
    backend: Annotated[str | None, typer.Option(help="Only what this backend can use.")] = None,
    n: Annotated[int, typer.Option("-n", help="How many.")] = 10,
    home: Home = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> Output:
    """The experiences nearest to a text, with their values."""
    if n < 1:
        raise InputError(f"-n is {n}", "give a whole number of at least 1")
    memory = workspace(home, store).open_memory()
    try:
        found = memory.search(text, backend, n)
    finally:
        memory.close()
    rows = [_row(item) for item in found]
    lines = [f"{row['similarity']:.2f}  Q {row['q']:+.2f}  {row['kind']}  {row['lesson'] or row['id']}" for row in rows]
    text = "\n".join(lines) or "nothing found"
    return Output({"memory": rows}, lambda console: console.print(text, markup=False, highlight=False))


@app.command(epilog=example("kernelwright memory rebuild"))
def rebuild(home: Home = None, store: StoreUrl = None, as_json: AsJson = False) -> Output:
    """Make the index anew from the store, which holds the truth."""
    memory = workspace(home, store).open_memory()
    try:
        count = memory.rebuild()
    finally:
        memory.close()
    line = f"{count} experiences indexed"
    return Output({"memory": {"indexed": count}}, lambda console: console.print(line, markup=False, highlight=False))


def _row(item: Recalled) -> dict[str, Any]:
    keys = ("id", "kind", "stage", "backend", "family", "task", "status", "speedup", "lesson")
    known = {key: getattr(item.experience, key) for key in keys}
    return {**known, "similarity": item.similarity, "q": item.q}

"""``kernelwright gc``: free what nothing refers to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from kernelwright.agent.cli.options import AsJson, Home, StoreUrl, example, verb, workspace
from kernelwright.agent.cli.output import Output
from kernelwright.tasks.codec import to_json

if TYPE_CHECKING:
    from kernelwright.agent.waste import Collected

app = verb()


@app.command(epilog=example("kernelwright gc --dry-run\nkernelwright gc --cache-days 3"))
def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be freed, and delete nothing.")] = False,
    grace: Annotated[float, typer.Option(metavar="MINUTES", help="Keep what was put so lately; at least 5.")] = 60.0,
    cache_days: Annotated[float, typer.Option(metavar="DAYS", help="Keep builds that were used so lately.")] = 14.0,
    home: Home = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> Output:
    """Delete artifacts that nothing refers to and builds that nobody used for long; no result loses anything.

    Runs may be at work meanwhile; then the cache is left alone.
    """
    from kernelwright.agent.waste import collect

    done = collect(workspace(home, store), dry_run=dry_run, grace=grace, cache_days=cache_days)
    data = {**to_json(done), "bytes": done.bytes}
    return Output({"gc": data}, lambda console: console.print(_text(done), markup=False, highlight=False))


def _text(done: Collected) -> str:
    freed, kept = ("would be freed", "would stay") if done.dry_run else ("freed", "stay")
    a, c = done.artifacts, done.cache
    young = f", {a.young} too new to be sure" if a.young else ""
    cache = f"{c.entries} entries, {_size(c.bytes)}; {c.kept} {kept}"
    if c.in_use:
        cache = f"left alone, run {c.in_use} is being worked on"
    return "\n".join(
        [
            f"artifacts: {a.files} files, {_size(a.bytes)}; {a.kept} {kept}{young}",
            f"cache: {cache}",
            f"{_size(done.bytes)} {freed}",
        ]
    )


def _size(count: int) -> str:
    """``1.4 MiB``."""
    for unit, scale in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} bytes"

"""How ``kernelwright memory`` shows what it found: rows for programs, lines for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kernelwright.tasks.codec import to_json

if TYPE_CHECKING:
    from rich.console import Console

    from kernelwright.memory.catalog import Entry
    from kernelwright.memory.portable import Moved
    from kernelwright.memory.records import Experience, Recalled

_KEYS = ("id", "kind", "stage", "backend", "device", "family", "task", "status", "bottleneck", "speedup", "seen", "lesson")
_LINE = 100


def shown(text: str) -> Callable[[Console], None]:
    """``text`` for the terminal, as it stands: lessons are not markup."""
    return lambda console: console.print(text, markup=False, highlight=False)


def found_row(item: Recalled) -> dict[str, Any]:
    """One row of a search."""
    return {**_row(item.experience), "similarity": item.similarity, "q": item.q}


def entry_row(entry: Entry, whole: bool = False) -> dict[str, Any]:
    """One row of a listing; ``whole``: with code, parents and every value."""
    row = {**_row(entry.experience), "created": entry.created, "origin": entry.origin, "archived": entry.archived}
    row |= {"successor": entry.successor}
    for stage in ("draft", "refine"):
        value = entry.anywhere(stage)
        row[f"q_{stage}"] = value.q if value else 0.0
        row[f"visits_{stage}"] = value.visits if value else 0
    if whole:
        e = entry.experience
        row |= {"code": e.code, "parents": list(e.parents), "text": e.text, "values": to_json(entry.values)}
    return row


def listing_text(rows: Sequence[Mapping[str, Any]], total: int) -> str:
    """A line an experience."""
    lines = []
    for row in rows:
        worth = f"Q {row['q_draft']:+.2f}/{row['q_refine']:+.2f}"
        often = f" x{row['seen']}" if row["seen"] > 1 else ""
        why = f"  [{row['archived']}{' into ' + row['successor'] if row['successor'] else ''}]" if row["archived"] else ""
        said = " ".join(str(row["lesson"]).split())[:_LINE]
        lines.append(f"{row['id']}  {row['kind']}{often}  {worth}{why}  {said}")
    more = f"{len(rows)} of {total} (-n for more)" if len(rows) < total else ""
    return "\n".join([*lines, *([more] if more else [])]) or "nothing there"


def entry_text(entry: Entry) -> str:
    """An experience in full."""
    e = entry.experience
    facts = {key: value for key, value in _row(e).items() if key != "lesson" and value not in ("", None)}
    lines = [f"{key}: {value}" for key, value in facts.items()]
    lines += [f"origin: {entry.origin}", f"parents: {', '.join(e.parents) or 'none'}"]
    if entry.archived:
        lines.append(f"archived: {entry.archived}{f', {entry.successor} stands for it' if entry.successor else ''}")
    for value in entry.values:
        where = "anywhere" if value.backend == "*" else f"{value.backend}, {value.family or 'no family'}"
        lines.append(f"value: {value.q:+.3f} at {value.stage} ({where}; {value.visits} visits)")
    lines += ["", e.lesson or e.text]
    return "\n".join([*lines, *(["", e.code] if e.code else [])])


def stats_text(held: Mapping[str, Any]) -> str:
    """Counts, a line each."""
    lines = [f"{name}: {value}" for name, value in held.items() if not isinstance(value, dict)]
    lines += [f"  {kind}: {count}" for kind, count in held["kinds"].items()]
    return "\n".join([*lines, *(f"archived, {why}: {count}" for why, count in held["archived"].items())])


def moved_text(moved: Moved) -> str:
    """What an import came to."""
    known = moved.experiences - moved.added
    text = f"{moved.experiences} experiences: {moved.added} new ({moved.merged} merged with near-duplicates), {known} known"
    text += f"\n{moved.values} values: {moved.updated} taken, {moved.values - moved.updated - moved.skipped} kept as they were"
    return text + (f", {moved.skipped} of knowledge that this version does not have" if moved.skipped else "")


def _row(e: Experience) -> dict[str, Any]:
    return {key: getattr(e, key) for key in _KEYS}

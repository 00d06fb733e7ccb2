"""Sums over a run's ledger."""

from __future__ import annotations

import math
from collections.abc import Iterable

from kernelwright.memory.records import Line, Spent

COLUMNS = ("task", "model", "role")


def total(parts: Iterable[Spent]) -> Spent:
    """The sum; its cost is unknown where one part's is."""
    held = tuple(parts)
    costs = [part.cost_usd for part in held if part.cost_usd is not None]
    return Spent(
        calls=sum(part.calls for part in held),
        tokens_in=sum(part.tokens_in for part in held),
        tokens_out=sum(part.tokens_out for part in held),
        cost_usd=math.fsum(costs) if len(costs) == len(held) else None,
        seconds=math.fsum(part.seconds for part in held),
    )


def by(column: str, lines: Iterable[Line]) -> dict[str, Spent]:
    """The lines summed by ``task``, ``model`` or ``role``, in order of appearance."""
    if column not in COLUMNS:
        raise ValueError(f"a ledger has no column {column!r}, only {', '.join(COLUMNS)}")
    grouped: dict[str, list[Spent]] = {}
    for line in lines:
        grouped.setdefault(getattr(line, column), []).append(line.spent)
    return {name: total(parts) for name, parts in grouped.items()}

"""Entries of a section side by side, where they can be compared: over the same tasks, against the same baselines."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kernelwright.agent.bench.metrics import Fast, Figures, figures
from kernelwright.agent.bench.records import Sample
from kernelwright.agent.leaderboard.entries import Entry, Section

_Key = tuple[frozenset[str], tuple[str, ...], tuple[str, ...]]
_NAMED = 3
"""Tasks of a group that are named rather than counted."""


@dataclass(frozen=True)
class Row:
    """An entry's figures over the tasks of its group."""

    entry: Entry
    figures: Figures
    samples: tuple[Sample, ...]

    @property
    def fast(self) -> Fast:
        """fast_1 over the best baseline."""
        return next(f for f in self.figures.against["best"].fast if f.p == 1.0)

    @property
    def samples_a_task(self) -> str:
        """``3``, or ``1–3`` where tasks differ."""
        counts = Counter(s.task for s in self.samples).values()
        low, high = min(counts), max(counts)
        return str(low) if low == high else f"{low}–{high}"

    @property
    def judge_seconds(self) -> float:
        return math.fsum(s.judge_seconds for s in self.samples)

    @property
    def cost_usd(self) -> float | None:
        """All that was spent; None where a price is unknown."""
        costs = [s.cost_usd for s in self.samples]
        return None if None in costs else math.fsum(cost for cost in costs if cost is not None)


@dataclass(frozen=True)
class Group:
    """Entries that compare; the fastest first, though intervals that overlap are no ranking."""

    scope: str
    """A level or category; empty for all tasks."""
    tasks: frozenset[str]
    baselines: tuple[str, ...]
    rtol: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def title(self) -> str:
        """What all entries of the group have in common."""
        names = sorted(self.tasks)
        told = ", ".join(names) if len(names) <= _NAMED else f"the same {len(names)} tasks"
        timed = f"timed against {' and '.join(self.baselines)}" if self.baselines else "nothing timed"
        lenient = f"; judged with an rtol of {', '.join(self.rtol)} in place of the judge's own" if self.rtol else ""
        return f"{self.scope}: {told}; {timed}{lenient}" if self.scope else f"{told}; {timed}{lenient}"


def overall(section: Section) -> list[Group]:
    """All tasks."""
    return _groups(section.entries, "", lambda _: True)


def by_level(section: Section) -> list[Group]:
    return _split(section.entries, lambda s: s.level)


def by_category(section: Section) -> list[Group]:
    return _split(section.entries, lambda s: s.category)


def _split(entries: Sequence[Entry], of: Callable[[Sample], str]) -> list[Group]:
    names = sorted({of(s) for entry in entries for s in entry.samples} - {""})

    def within(name: str) -> list[Group]:
        return _groups(entries, name, lambda sample: of(sample) == name)

    return [group for name in names for group in within(name)]


def _groups(entries: Sequence[Entry], scope: str, keep: Callable[[Sample], bool]) -> list[Group]:
    """Entries by their tasks, what they were timed against and how; one without any timing joins the largest such group."""
    found: dict[_Key, list[Row]] = {}
    untimed: list[tuple[_Key, Row]] = []
    for entry in entries:
        samples = tuple(s for s in entry.samples if keep(s))
        if samples:
            key = (frozenset(s.task for s in samples), entry.baselines, entry.rtol)
            row = Row(entry, figures(samples), samples)
            if entry.baselines:
                found.setdefault(key, []).append(row)
            else:
                untimed.append((key, row))
    for own, row in untimed:
        same = [key for key in found if key[0] == own[0]]
        found.setdefault(max(same, key=lambda key: len(found[key]), default=own), []).append(row)
    order = sorted(found, key=lambda key: (-len(key[0]), sorted(key[0]), -len(key[1]), *key[1:]))
    return [Group(scope, *key, tuple(sorted(found[key], key=_place))) for key in order]


def _place(row: Row) -> tuple[float, float, float, str, int]:
    mean = row.figures.against["best"].geomean
    speed = mean.median if mean else 0.0
    return -row.fast.share.median, -row.figures.correct.median, -speed, row.entry.model, row.entry.number

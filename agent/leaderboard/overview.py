"""What the page of all entries shows, section by section."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from kernelwright.agent.leaderboard import standings, untrusted
from kernelwright.agent.leaderboard.entries import Entry, Result, Section
from kernelwright.agent.leaderboard.pages import TaskPage
from kernelwright.agent.leaderboard.standings import Group


@dataclass(frozen=True)
class TaskRow:
    """One entry on one task, all its samples."""

    href: str
    name: str
    """The task's, without the suite's before it."""
    entry: Entry
    results: tuple[Result, ...]

    @cached_property
    def shown(self) -> Result:
        """The fastest sample over the best baseline; else one that solved the task; else the first."""

        def place(result: Result) -> tuple[bool, float]:
            best = result.sample.speedup.get("best")
            return result.sample.correct, best.median if best else 0.0

        return max(self.results, key=place)

    @property
    def solved(self) -> int:
        return sum(result.sample.correct for result in self.results)

    @property
    def cost_usd(self) -> float | None:
        costs = [r.sample.cost_usd for r in self.results]
        return None if None in costs else math.fsum(cost for cost in costs if cost is not None)

    @property
    def evidence(self) -> str:
        """Whether the shown sample has evidence."""
        if self.shown.contradicted:
            return "contradicts"
        return "yes" if self.shown.evidence else "missing" if self.shown.evidence_missing else "no"


@dataclass(frozen=True)
class SectionView:
    """A section with its tables."""

    number: int
    section: Section
    rows: tuple[TaskRow, ...]

    @cached_property
    def overall(self) -> list[Group]:
        return standings.overall(self.section)

    @cached_property
    def levels(self) -> list[Group]:
        return standings.by_level(self.section)

    @cached_property
    def categories(self) -> list[Group]:
        return standings.by_category(self.section)

    @cached_property
    def ambiguous(self) -> frozenset[str]:
        """Models that more than one entry of the section has."""
        models = [entry.model for entry in self.section.entries]
        return frozenset(model for model in models if models.count(model) > 1)

    @property
    def notes(self) -> list[str]:
        """What the suite says of figures on it."""
        found: dict[str, None] = {}
        for entry in self.section.entries:
            notes = entry.header.get("notes")
            found.update(dict.fromkeys(untrusted.name(note) for note in notes) if isinstance(notes, list) else {})
        return list(found)


@dataclass(frozen=True)
class Overview:
    """The page of all entries."""

    sections_: Sequence[Section]
    pages: Sequence[TaskPage]
    files: Mapping[str, str]
    """Bench -> its copied file of results."""

    @cached_property
    def sections(self) -> list[SectionView]:
        hrefs = {(page.suite, page.task): page.href for page in self.pages}
        return [SectionView(n, section, tuple(_rows(section, hrefs))) for n, section in enumerate(self.sections_, 1)]

    @cached_property
    def entries(self) -> list[Entry]:
        """By their number; a bench that ran on several devices has several."""
        return sorted((e for section in self.sections_ for e in section.entries), key=lambda e: (e.number, e.device))

    @cached_property
    def benches(self) -> int:
        return len({entry.number for entry in self.entries})

    def choices(self, key: str) -> list[str]:
        """What can be filtered by ``key``."""
        if key in ("suite", "device"):
            return sorted({getattr(section, key) for section in self.sections_})
        if key in ("model", "backend"):
            return sorted({getattr(entry, key) for entry in self.entries} - {""})
        return sorted({getattr(s, key) for entry in self.entries for s in entry.samples} - {""})


def _rows(section: Section, hrefs: Mapping[tuple[str, str], str]) -> list[TaskRow]:
    rows = [
        TaskRow(hrefs[section.suite, task], task.removeprefix(f"{section.suite}/"), entry, tuple(results))
        for entry in section.entries
        for task, results in entry.by_task().items()
    ]

    def place(row: TaskRow) -> tuple[str, bool, float, int]:
        best = row.shown.sample.speedup.get("best")
        return row.name, not row.solved, -best.median if best else 0.0, row.entry.number

    return sorted(rows, key=place)

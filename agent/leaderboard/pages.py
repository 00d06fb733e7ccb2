"""A page a task: its entries section by section, and the kernels behind them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from kernelwright.agent.bench.records import Sample
from kernelwright.agent.leaderboard import untrusted
from kernelwright.agent.leaderboard.entries import Entry, Result, Section
from kernelwright.agent.report.highlight import highlight

MOST_SOURCE = 1_500_000
"""Characters of markup of sources on one page; further ones are in their evidence only."""


@dataclass(frozen=True)
class Line:
    """One sample of one entry."""

    section: Section
    entry: Entry
    result: Result
    anchor: str

    @property
    def title(self) -> str:
        return f"{self.entry.model or 'no model recorded'}, {self.entry.bench}, sample {self.result.sample.sample}"


@dataclass(frozen=True)
class KernelView:
    """A kernel whose evidence is there."""

    line: Line
    source: Markup | None
    """None where it is not shown here."""
    same_as: Line | None
    """The kernel above with the same source."""


@dataclass(frozen=True)
class TaskPage:
    """All that the site knows of one task of one suite."""

    suite: str
    task: str
    lines: tuple[tuple[Section, tuple[Line, ...]], ...]

    @property
    def href(self) -> str:
        return f"tasks/{untrusted.file_name(self.task, self.suite)}.html"

    @property
    def level(self) -> str:
        return self._first.level

    @property
    def category(self) -> str:
        return self._first.category

    @property
    def all(self) -> tuple[Line, ...]:
        return tuple(line for _, lines in self.lines for line in lines)

    @property
    def _first(self) -> Sample:
        return self.lines[0][1][0].result.sample

    def references(self) -> list[tuple[Markup, int]]:
        """Every text of the task that a kernel here was judged on, and how many were."""
        counts: dict[str, int] = {}
        for line in self.all:
            if line.result.evidence and line.result.evidence.task_source:
                text = line.result.evidence.task_source
                counts[text] = counts.get(text, 0) + 1
        return [(_shown(text), count) for text, count in counts.items()]

    def kernels(self) -> Iterator[KernelView]:
        """Those with evidence, in the order of the tables."""
        first: dict[str, Line] = {}
        room = MOST_SOURCE
        for line in self.all:
            evidence = line.result.evidence
            if evidence is None:
                continue
            if evidence.sha256 in first:
                yield KernelView(line, None, first[evidence.sha256])
                continue
            shown = _shown(evidence.source) if 2 * len(evidence.source) < room else None
            if shown is not None:
                first[evidence.sha256] = line
                room -= len(shown)
            yield KernelView(line, shown, None)


def task_pages(compared: Sequence[Section]) -> list[TaskPage]:
    """One page a suite and task, in the order of suites and tasks."""
    found: dict[tuple[str, str], list[tuple[Section, tuple[Line, ...]]]] = {}
    for section in compared:
        own: dict[str, list[Line]] = {}
        for entry in section.entries:
            for task, results in entry.by_task().items():
                own.setdefault(task, []).extend(Line(section, entry, r, _anchor(section, entry, r)) for r in results)
        for task in own:
            found.setdefault((section.suite, task), []).append((section, tuple(sorted(own[task], key=_place))))
    return [TaskPage(suite, task, tuple(lines)) for (suite, task), lines in sorted(found.items())]


def _anchor(section: Section, entry: Entry, result: Result) -> str:
    told = f"{section.title}\0{entry.bench}\0{result.sample.sample}"
    return f"k{hashlib.sha256(told.encode('utf-8', 'surrogatepass')).hexdigest()[:10]}"


def _place(line: Line) -> tuple[bool, float, int, int]:
    """Solved ones first, the fastest over the best baseline first."""
    sample = line.result.sample
    best = sample.speedup.get("best")
    return not sample.correct, -best.median if best else 0.0, line.entry.number, sample.sample


def _shown(source: str) -> Markup:
    return highlight(untrusted.visible(source.replace("\r\n", "\n")))

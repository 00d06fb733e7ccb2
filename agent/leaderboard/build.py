"""Builds the site: reads evidence, copies it, and writes one page for all and one for each task."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kernelwright.agent.leaderboard import evidence, untrusted
from kernelwright.agent.leaderboard.entries import Entry, Result, doubted, entries, sections
from kernelwright.agent.leaderboard.folder import SiteFolder
from kernelwright.agent.leaderboard.inputs import Input, LeftOut
from kernelwright.agent.leaderboard.pages import task_pages
from kernelwright.agent.leaderboard.render import index, task_page

INDEX = "index.html"


@dataclass(frozen=True)
class Built:
    """A site that was written."""

    index: Path
    sections: tuple[str, ...]
    tasks: int
    entries: int
    evidence: int
    """Files of evidence that were copied."""
    files: int
    bytes: int
    largest_page: int
    """Bytes."""
    left_out: tuple[LeftOut, ...] = field(default=())


def build(inputs: Sequence[Input], left_out: Iterable[LeftOut], out: Path) -> Built:
    """Write the site of ``inputs`` into ``out``. The same input gives the same files.

    Raises:
        InputError: ``out`` holds something else, or cannot be written.
    """
    folder = SiteFolder(out)
    problems = list(left_out)
    found: list[Entry] = []
    for number, given in enumerate(inputs, 1):
        results = tuple(_results(given, folder))
        problems += _problems(given, results)
        folder.put(_results_file(given), _as_read(given))
        found += entries(number, given, results)
    compared = sections(found)
    pages = task_pages(compared)
    for page in pages:
        folder.put(page.href, task_page(page))
    folder.put(INDEX, index(compared, pages, {g.bench: _results_file(g) for g in inputs}, problems))
    folder.finish()
    return Built(
        index=out / INDEX,
        sections=tuple(section.title for section in compared),
        tasks=len(pages),
        entries=len(found),
        evidence=len({r.evidence_href for entry in found for r in entry.results if r.evidence}),
        files=len(folder.written),
        bytes=sum(folder.written.values()),
        largest_page=max(size for name, size in folder.written.items() if name.endswith(".html")),
        left_out=tuple(problems),
    )


def _home(given: Input) -> str:
    return f"benches/{untrusted.file_name(given.bench)}"


def _results_file(given: Input) -> str:
    return f"{_home(given)}/results.jsonl"


def _as_read(given: Input) -> str:
    """The file of results, from what was read: it may have grown since."""
    return "".join(json.dumps(line) + "\n" for line in (given.recorded.header, *given.recorded.records))


def _results(given: Input, folder: SiteFolder) -> Iterator[Result]:
    """The bench's results, their evidence copied where it is."""
    for sample, record in zip(given.recorded.samples, given.recorded.records, strict=True):
        path = record.get("evidence")
        if path is None:
            yield Result(sample, record)
            continue
        try:
            found = evidence.read(given.folder, path, sample, record)
        except evidence.NotTaken as error:
            yield Result(sample, record, evidence_missing=f"{untrusted.name(path)} {error}")
            continue
        name = f"{_home(given)}/{path}"
        folder.put(name, found.raw)
        yield Result(doubted(sample, found.contradictions), record, evidence.without_raw(found), untrusted.link(name))


def _problems(given: Input, results: Sequence[Result]) -> Iterator[LeftOut]:
    """What is wrong with the evidence of a bench, a line each kind."""
    missing = [r for r in results if r.evidence_missing]
    if missing:
        reason = f"evidence of {len(missing)} of {len(results)} samples is not on the site: {missing[0].evidence_missing}"
        yield LeftOut(given.name, reason, "keep the folder evidence beside the file of results")
    doubts = [r for r in results if r.contradicted]
    if doubts:
        first = f"{untrusted.name(doubts[0].sample.task)}, sample {doubts[0].sample.sample}: {doubts[0].contradicted[0]}"
        reason = f"evidence contradicts {len(doubts)} of {len(results)} records, which count as failures: {first}"
        yield LeftOut(given.name, reason, "ask who made them; kernelwright check --evidence FILE judges a kernel again")

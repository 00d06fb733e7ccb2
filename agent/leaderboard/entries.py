"""What the site lists: a bench on a device is an entry; entries of one suite, scale and device share a section.

Speedups over one device's baselines do not hold for another's, and sizes change with the scale: nothing is ranked across
sections.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from kernelwright.agent.bench.records import Sample
from kernelwright.agent.leaderboard import untrusted
from kernelwright.agent.leaderboard.evidence import Evidence
from kernelwright.agent.leaderboard.inputs import Input
from kernelwright.agent.report.text import ratio

NO_DEVICE = "no device recorded"


@dataclass(frozen=True)
class Result:
    """One sample of one task, with what the record says beside its figures."""

    sample: Sample
    """Not solved where its own evidence contradicts it."""
    record: Mapping[str, Any]
    evidence: Evidence | None = None
    evidence_href: str = ""
    """The copied file, from the site's top."""
    evidence_missing: str = ""
    """Why there is none, where the record names one."""

    @property
    def contradicted(self) -> tuple[str, ...]:
        return self.evidence.contradictions if self.evidence else ()

    @property
    def status(self) -> str:
        return "contradicted" if self.contradicted else self.sample.status

    @property
    def versions(self) -> dict[str, str]:
        return {untrusted.name(k): untrusted.name(v) for k, v in untrusted.mapping(self.record.get("versions")).items()}

    @property
    def verdicts(self) -> dict[str, str]:
        """Outcome of an attempt -> how many."""
        found = untrusted.mapping(self.record.get("verdicts"))
        return {untrusted.name(k).replace("_", " "): untrusted.name(v) for k, v in found.items()}

    @property
    def upstream(self) -> str:
        """What the suite's own rule says of the kernel; empty where it was not asked."""
        found = untrusted.mapping(self.record.get("upstream"))
        if not isinstance(found.get("correct"), bool):
            return ""
        speedup = found.get("speedup")
        timed = f", {ratio(speedup)}" if isinstance(speedup, (int, float)) and found["correct"] else ""
        return f"passes{timed}" if found["correct"] else "fails"

    def told(self, key: str, default: str = "") -> str:
        """A short value of the record."""
        return untrusted.name(self.record.get(key), default)


def doubted(sample: Sample, contradictions: Sequence[str]) -> Sample:
    """``sample``, as a failure where its evidence says otherwise than its record."""
    if not contradictions:
        return sample
    reason = f"its evidence contradicts its record: {'; '.join(contradictions)}"
    return replace(sample, status="unsolved", correct=False, speedup={}, latency_us=None, reason=reason)


@dataclass(frozen=True)
class Entry:
    """What one bench did on one device."""

    number: int
    """Of the bench on this site, from 1."""
    input: Input
    device: str
    results: tuple[Result, ...]

    @property
    def bench(self) -> str:
        return self.input.bench

    @property
    def header(self) -> Mapping[str, Any]:
        return self.input.recorded.header

    @property
    def suite(self) -> str:
        return untrusted.name(self.header.get("suite"), "no suite recorded")

    @property
    def scale(self) -> str:
        """As a number over the shipped sizes; empty where sizes are the shipped ones."""
        scale = self.header.get("scale")
        return "" if scale in (None, 1, 1.0) else untrusted.name(scale)

    @cached_property
    def model(self) -> str:
        return self._common("model")

    @cached_property
    def policy(self) -> str:
        return self._common("policy")

    @cached_property
    def backend(self) -> str:
        return self._common("backend")

    @property
    def tokens(self) -> int:
        return sum(sample.tokens for sample in self.samples)

    @cached_property
    def commit(self) -> str:
        return self._common("commit")

    @cached_property
    def samples(self) -> tuple[Sample, ...]:
        return tuple(result.sample for result in self.results)

    @cached_property
    def tasks(self) -> frozenset[str]:
        return frozenset(sample.task for sample in self.samples)

    @cached_property
    def baselines(self) -> tuple[str, ...]:
        """Those that anything was timed against: ``best`` means the faster of these."""
        return tuple(name for name in ("eager", "compile") if any(name in s.speedup for s in self.samples))

    @cached_property
    def rtol(self) -> tuple[str, ...]:
        """Tolerances that were asked for in place of the judge's own, as far as evidence tells."""
        found = (r.evidence.judging.get("rtol") for r in self.results if r.evidence)
        return tuple(sorted({untrusted.name(value) for value in found if value is not None}))

    @cached_property
    def versions(self) -> dict[str, str]:
        """Name -> version, or versions where they changed on the way."""
        found: dict[str, dict[str, None]] = {}
        for result in self.results:
            for name, version in result.versions.items():
                found.setdefault(name, {})[version] = None
        return {name: ", ".join(versions) for name, versions in sorted(found.items())}

    @property
    def wanted(self) -> int | None:
        """How many records the bench will have when finished, on all its devices; None where its header does not say."""
        solutions, tasks, samples = (untrusted.count(self.header.get(key)) for key in ("solutions", "tasks", "samples"))
        if solutions is not None or tasks is None or samples is None:
            return solutions
        return (tasks + len(untrusted.mapping(self.header.get("left_out")))) * samples

    @property
    def unfinished(self) -> bool:
        return self.wanted is not None and len(self.input.recorded.samples) < self.wanted

    def by_task(self) -> dict[str, list[Result]]:
        """Task -> its results in the order of their samples."""
        found: dict[str, list[Result]] = {}
        for result in sorted(self.results, key=lambda r: r.sample.sample):
            found.setdefault(result.sample.task, []).append(result)
        return found

    def _common(self, key: str) -> str:
        """What the records have under ``key``, else the header; several values with commas."""
        values = dict.fromkeys(result.told(key) for result in self.results) or {}
        return ", ".join(v for v in values if v) or untrusted.name(self.header.get(key))


def entries(number: int, found: Input, results: Sequence[Result]) -> list[Entry]:
    """An entry a device. A record without a device, where nothing ran, is a failure on each device of its bench."""
    devices = dict.fromkeys(untrusted.name(r.sample.device) for r in results if r.sample.device) or {NO_DEVICE: None}

    def on(device: str) -> Iterable[Result]:
        return (r for r in results if not r.sample.device or untrusted.name(r.sample.device) == device)

    return [Entry(number, found, device, tuple(on(device))) for device in devices]


@dataclass(frozen=True)
class Section:
    """What is compared: one suite at one scale on one device."""

    suite: str
    scale: str
    device: str
    entries: tuple[Entry, ...]

    @property
    def title(self) -> str:
        scale = f" at {self.scale} of its sizes" if self.scale else ""
        return f"{self.suite}{scale} on {self.device}"

    @cached_property
    def tasks(self) -> int:
        return len(frozenset().union(*(entry.tasks for entry in self.entries)))


def sections(found: Iterable[Entry]) -> list[Section]:
    """Entries by suite, scale and device."""
    own: dict[tuple[str, str, str], list[Entry]] = {}
    for entry in found:
        own.setdefault((entry.suite, entry.scale, entry.device), []).append(entry)
    return [Section(*key, tuple(own[key])) for key in sorted(own)]

"""What an evidence file holds, as records. docs/evidence.md describes the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kernelwright.evaluator.device import DeviceInfo
from kernelwright.tasks.records import Kernel, Task, Verdict

FORMAT = 1
KIND = "evidence"
SEARCH, AUDIT, CHECK = "search", "audit", "check"
"""What a judging was for."""


@dataclass(frozen=True)
class Drawn:
    """One draw of inputs, with hashes; those are None where it was dropped, and ``outputs`` where nothing was compared."""

    case: str
    stage: str
    scale: float
    spikes: str
    vary: bool
    variant: str
    seed: int
    dropped: bool
    inputs: str | None
    expected: str | None
    outputs: str | None


@dataclass(frozen=True)
class Pooled:
    """One pool of inputs for timed calls."""

    case: str
    copies: int
    seed: int


@dataclass(frozen=True)
class Side:
    """One side's raw readings, two a block: what n calls took, what 3n calls took, a call by the other clock; all µs."""

    readings: tuple[tuple[float, float, float | None], ...]
    spacers_us: tuple[float, ...]


@dataclass(frozen=True)
class Readings:
    """The raw timing of one case in one judging."""

    calls: int
    head: int
    clock: str
    sides: Mapping[str, Side]


@dataclass(frozen=True)
class Record:
    """What one judging drew and measured: :class:`kernelwright.evaluator.journal.Journal`, read back."""

    parameter_seeds: Mapping[str, int]
    draws: tuple[Drawn, ...]
    pools: tuple[Pooled, ...]
    timing: Mapping[str, Readings]
    format: int = 1


@dataclass(frozen=True)
class Judging:
    """One judging of the kernel; ``record`` is None where it was not kept."""

    role: str
    verdict: Verdict
    record: Record | None = None


@dataclass(frozen=True)
class Origin:
    """Where a kernel comes from; None what is not known."""

    suite: str | None = None
    bench: str | None = None
    run: str | None = None
    sample: int | None = None
    seed: int | None = None
    model: str | None = None
    policy: str | None = None
    attempt: str | None = None


@dataclass(frozen=True)
class Evidence:
    """One kernel, its task, and all that its figures rest on."""

    created: str
    task: Task
    kernel: Kernel
    verdict: Verdict
    """The one that figures are quoted from."""
    judgings: tuple[Judging, ...]
    judging: Mapping[str, Any]
    """The settings of the last one."""
    device: DeviceInfo | None
    versions: Mapping[str, str]
    commit: str | None = None
    origin: Origin = field(default_factory=Origin)

    @property
    def device_name(self) -> str:
        """What it was judged on, as far as the file says."""
        return self.device.name if self.device else str(self.verdict.environment.get("device", "an unknown device"))

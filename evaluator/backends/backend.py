"""The seam between the judge and a kernel language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from kernelwright.evaluator.chip import Chip
from kernelwright.evaluator.chip_probe import Found
from kernelwright.tasks.records import Kernel


@dataclass(frozen=True)
class Built:
    """What building a kernel gave. ``ok`` false: the candidate's fault, told in ``log``."""

    ok: bool
    libraries: Mapping[str, str] = field(default_factory=dict)
    """Source hash -> path of the shared library (``KERNELWRIGHT_LIBRARIES`` of the runner)."""
    log: str = ""
    """On failure the reason in the first line, then the compiler's first errors; else its warnings."""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    unsupported: bool = False
    """With ``ok`` false: nobody's fault, the source needs what this backend does not model."""


class Backend(Protocol):
    """One kernel language. Stateless and thread-safe; no method executes candidate code or opens a device.

    A candidate that cannot be built is a :class:`Built` with ``ok`` false; an exception means that the harness failed.
    """

    name: str

    def available(self, device: str) -> str:
        """Empty when kernels run on ``device`` (``cpu``, ``cuda``, ``tpu:1``, ``npu``), else reason and remedy in one line."""
        ...

    def build(self, kernel: Kernel, cache: Path) -> Built:
        """Compile what can be compiled ahead into ``cache``; many processes may share the cache."""
        ...

    def run_entry(self, device: str) -> Mapping[str, str]:
        """Environment variables that a runner of this backend needs on ``device``."""
        ...

    def diagnose(self, kernel: Kernel, built: Built) -> Mapping[str, Any]:
        """What the compiler's output says about speed: for prompts and the verdict's evidence, never a speedup."""
        ...


class OnChip(Backend, Protocol):
    """What a backend has besides that runs kernels on a chip which its runner opens for itself."""

    chip: Chip

    def facts(self, index: int) -> Found:
        """What chip ``index`` is, and why it cannot be used where it cannot."""
        ...

    def launchers(self, kernel: Kernel, cache: Path) -> Mapping[str, str]:
        """Libraries that launches there need beside those of :meth:`build`, which are the simulator's.

        Raises:
            BuildError: the vendor's compiler makes none.
        """
        ...

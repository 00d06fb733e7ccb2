"""What a sanitizer found, in one form for all of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from kernelwright.tasks.records import Status

_REPORT_LINES = 14
_LINE_LENGTH = 200


@dataclass(frozen=True)
class Finding:
    """One error that a sanitizer saw, at its place in the kernel's source."""

    tool: str
    """``asan``, ``ubsan``, ``threads``, ``interpreter``, ``memcheck`` or ``racecheck``."""
    kind: str
    """The tool's name for it (``heap-buffer-overflow``, ``misaligned load``, ``race``)."""
    access: str = ""
    """``read``, ``write`` or empty."""
    where: str = ""
    """``kernel.cpp:12``: line of the native source; ``kernel line 12``: line of the kernel's Python source."""
    function: str = ""
    detail: str = ""
    report: tuple[str, ...] = ()
    """First lines of the tool's own words."""
    status: Status = Status.RUNTIME_ERROR
    """What the kernel is when this decides: a memory error is ``runtime_error``, a race ``incorrect``."""

    @property
    def reason(self) -> str:
        """One line for the verdict."""
        what = " ".join(part for part in (self.kind, self.access) if part)
        at = f" at {self.where}" if self.where else ""
        inside = f" in {self.function}" if self.function else ""
        detail = f": {self.detail}" if self.detail else ""
        return f"{self.tool}: {what}{at}{inside}{detail}"

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "status": self.status.value, "report": list(self.report)}


def excerpt(lines: list[str]) -> tuple[str, ...]:
    """The first lines of a report, shortened."""
    return tuple(line.rstrip()[:_LINE_LENGTH] for line in lines[:_REPORT_LINES])

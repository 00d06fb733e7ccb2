"""The writer seam: an assignment goes in, one answer comes out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kernelwright.evaluator.device import DeviceInfo
from kernelwright.memory.records import Context
from kernelwright.tasks.records import Answer, Idea, Task


@dataclass(frozen=True)
class Assignment:
    """All that a writer may know: the idea, the task, the device and what memory recalled."""

    idea: Idea
    task: Task
    backend: str
    device: DeviceInfo
    context: Context


@dataclass(frozen=True)
class Setup:
    """What writers are made from."""

    name: str
    """``--model`` as it was given."""
    home: Path
    """The workspace."""
    store: str
    """The store's URL."""
    api_base: str | None = None


class Writer(Protocol):
    """Who writes kernels.

    ``write`` may be called from several threads at once. An unreadable answer is an answer (with a problem and no
    kernel), not an error. Given the same assignment a writer may answer differently only if it is a model or a person.
    """

    name: str

    def write(self, assignment: Assignment) -> Answer:
        """One kernel for the idea.

        Raises:
            Pending: somebody else must answer first; the idea stays in flight.
            WriterError: the writer cannot work at all; the run stops and can be resumed.
        """
        ...

    def close(self) -> None:
        """Let go of what the writer holds."""
        ...

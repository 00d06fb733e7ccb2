"""The seam between the search and wherever kernels are judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from kernelwright.evaluator.device import DeviceInfo
from kernelwright.tasks.records import Kernel, Task, Verdict


@dataclass(frozen=True)
class Job:
    """One kernel to judge."""

    id: str
    kernel: Kernel
    task: Task
    thorough: bool = False
    """Judge by :meth:`~kernelwright.evaluator.settings.Settings.thorough` settings: a winner, whose figures will be quoted."""


class Engine(Protocol):
    """Judges jobs. A candidate's failure is a verdict; an exception means the task or the harness is at fault."""

    def admit(self, task: Task) -> None:
        """Raise TaskError when the task cannot be judged."""
        ...

    def evaluate(self, job: Job) -> Verdict:
        """The verdict; errors.Pending when it comes later and from elsewhere."""
        ...

    def device(self) -> DeviceInfo:
        """The device that judges."""
        ...

    def close(self) -> None:
        """End whatever the engine started."""
        ...

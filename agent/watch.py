"""Who looks on while a run works: progress, and the wish to stop."""

from __future__ import annotations

from typing import Protocol

from kernelwright.memory.records import TaskOutcome
from kernelwright.tasks.records import Attempt, Idea, Task


class Watch(Protocol):
    """Called from the loop's own thread only; must not raise."""

    def stopping(self) -> bool:
        """True when nothing new is to be started; what is in flight is finished and committed."""
        ...

    def task(self, task: Task, budget: int) -> None:
        """A task begins, or goes on."""
        ...

    def doing(self, idea: Idea | None, what: str) -> None:
        """The current task is at ``what`` (``writing``, ``judging``, ``waiting``, ``auditing``…)."""
        ...

    def done(self, attempt: Attempt) -> None:
        """An attempt was learned, now or by an earlier process."""
        ...

    def outcome(self, outcome: TaskOutcome) -> None:
        """The current task has ended, for now."""
        ...


class Silence:
    """Looks on and says nothing."""

    def stopping(self) -> bool:
        return False

    def task(self, task: Task, budget: int) -> None:
        return None

    def doing(self, idea: Idea | None, what: str) -> None:
        return None

    def done(self, attempt: Attempt) -> None:
        return None

    def outcome(self, outcome: TaskOutcome) -> None:
        return None

"""Who looks on while a run works: progress, and the wish to stop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from kernelwright.memory.records import TaskOutcome
from kernelwright.tasks.records import Attempt, Idea, Task

if TYPE_CHECKING:
    from kernelwright.agent.llm.ledger import Ledger


class Watch(Protocol):
    """Called from the loop's own thread only, but for ``stopping``; must not raise."""

    def stopping(self) -> bool:
        """True when nothing new is to be started; what is in flight is finished and committed. From any thread."""
        ...

    def spending(self, ledger: Ledger) -> None:
        """The run begins to work: from now on its ledger may be asked at any time, from any thread."""
        ...

    def task(self, task: Task, budget: int) -> None:
        """A task begins, or goes on; once more where its budget is raised meanwhile."""
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


class Heeding(Watch, Protocol):
    """Who looks on and may also ask the run to wait."""

    def paused(self) -> bool:
        """True while nothing new is to be started and the run is to wait."""
        ...


class Silence:
    """Looks on and says nothing."""

    def stopping(self) -> bool:
        return False

    def paused(self) -> bool:
        return False

    def spending(self, ledger: Ledger) -> None:
        return None

    def task(self, task: Task, budget: int) -> None:
        return None

    def doing(self, idea: Idea | None, what: str) -> None:
        return None

    def done(self, attempt: Attempt) -> None:
        return None

    def outcome(self, outcome: TaskOutcome) -> None:
        return None

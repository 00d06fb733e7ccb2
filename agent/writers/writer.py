"""The writer seam: an assignment goes in, one answer comes out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from kernelwright.agent.given import GivenKernel
from kernelwright.agent.llm.ledger import Ledger
from kernelwright.agent.llm.options import ModelOptions
from kernelwright.evaluator.device import DeviceInfo
from kernelwright.memory.records import Context
from kernelwright.tasks.records import Answer, Attempt, Idea, Task


@dataclass(frozen=True)
class Assignment:
    """All that a writer may know: the idea, the task, the device and what memory recalled."""

    idea: Idea
    task: Task
    backend: str
    device: DeviceInfo
    context: Context
    given: GivenKernel | None = None
    """The user's kernel to start from."""


def never() -> bool:
    """Nobody wants the run to stop."""
    return False


@dataclass(frozen=True)
class Setup:
    """What writers are made from."""

    name: str
    """``--model`` as it was given."""
    home: Path
    """The workspace."""
    store: str
    """The store's URL."""
    run: str = ""
    """Id of the run, for what is written beside it."""
    options: ModelOptions = ModelOptions()
    ledger: Ledger | None = None
    """Where every model call goes through; None where no model is called."""
    steps: tuple[str, ...] = ("code",)
    weights: tuple[float, ...] | None = None
    seed: int = 0
    prompt_tokens: int = 16_000
    wait: bool = False
    stopping: Callable[[], bool] = never
    """Whether the run is being left: a writer that waits for somebody then gives up. May be called from any thread."""


@runtime_checkable
class Learner(Protocol):
    """A writer that can also say what is to be learned from an attempt. Others leave that to memory's rules."""

    def lesson(self, assignment: Assignment, attempt: Attempt) -> str:
        """One or two sentences for other tasks, on a judged attempt of the assignment; empty: nothing beyond the facts.

        Raises:
            BudgetSpent: it cannot be paid for; WriterError: the writer cannot work at all.
        """
        ...


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
            Exhausted: it has nothing more for this task, whose search ends.
            WriterError: the writer cannot work at all; the run stops and can be resumed.
        """
        ...

    def told(self, attempt: Attempt) -> None:
        """What came of an attempt of the run, whoever wrote it; when a run is resumed, all that came of it so far.

        Called from the loop's thread, also while ``write`` is at work in others, and at most once for an attempt.
        """
        ...

    def close(self) -> None:
        """Let go of what the writer holds."""
        ...

"""The one exception tree.

A candidate's failure is a value (a :class:`~kernelwright.tasks.records.Verdict`), never an exception.
An exception says that a person asked for something impossible, or that the harness itself failed.

    KernelwrightError
    ├── InputError              wrong usage or input                              exit 2
    │   ├── TaskError           a task that is not there, does not load, or is refused
    │   │   └── NotAdmitted     a task for which an output that took no computing would pass
    │   ├── UnknownName         a backend, policy, model, suite… that does not exist
    │   ├── WorkspaceError      a workspace that cannot be read, written or understood
    │   └── WriterError         a writer that cannot start: no key, refused key, unknown model
    ├── HarnessError            the harness failed; nobody's kernel is to blame   exit 3
    ├── BudgetSpent             no further model call fits into what the run may spend
    └── Pending                 the step waits for somebody else (an answer, a verdict)

Every message gives the value seen and what was expected; ``remedy`` says what to do.
"""

from __future__ import annotations

from collections.abc import Iterable


class KernelwrightError(Exception):
    """Base of all errors raised on purpose; ``remedy`` is one sentence a person can act on."""

    exit_code = 3

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} ({self.remedy})" if self.remedy else self.message

    def __reduce__(self) -> tuple[type[KernelwrightError], tuple[str, str]]:
        return type(self), (self.message, self.remedy)


class InputError(KernelwrightError):
    """Wrong usage or input."""

    exit_code = 2


class TaskError(InputError):
    """A task that is not there, does not load, or is refused at admission."""


class NotAdmitted(TaskError):
    """A task refused at admission: an output that took no computing would pass."""


class UnknownName(InputError):
    """A name that resolves to nothing; the message lists what is available."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message, remedy)

    @classmethod
    def among(cls, noun: str, name: str, available: Iterable[str]) -> UnknownName:
        """The error for ``name`` where only ``available`` names of kind ``noun`` exist."""
        return cls(f"unknown {noun} {name!r}", f"available: {', '.join(sorted(available)) or 'none'}")


class WorkspaceError(InputError):
    """A workspace that cannot be read, written or understood."""


class WriterError(InputError):
    """A writer that cannot work at all: no key, a refused key, an unknown model."""


class HarnessError(KernelwrightError):
    """The harness failed; no kernel is to blame."""


class BudgetSpent(KernelwrightError):
    """No further model call fits into the run's money, tokens or time; what was measured stands."""

    exit_code = 1


class Exhausted(KernelwrightError):
    """A writer has nothing more for this task: asking it again would give what it gave before."""

    exit_code = 1


class Pending(KernelwrightError):
    """The step waits for somebody else; the run can be left and resumed."""

    exit_code = 1

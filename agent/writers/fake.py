"""A scripted writer, for tests and demonstrations: public, injected, never patched in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kernelwright.agent.answer.read import read_for
from kernelwright.agent.writers.writer import Assignment
from kernelwright.tasks.errors import KernelwrightError
from kernelwright.tasks.records import Answer, Attempt

Line = str | KernelwrightError


class FakeWriter:
    """Answers idea n with the n-th line of a script; an error in the script is raised once, then passed over.

    ``script`` is one list for all tasks or a list a task. After its end the last line is repeated.
    ``asked`` lists the ids of the ideas that were asked, in order.
    """

    name = "fake"

    def __init__(self, script: Sequence[Line] | Mapping[str, Sequence[Line]], cost_usd: float | None = 0.0) -> None:
        self._script = script
        self._cost = cost_usd
        self._raised: set[str] = set()
        self.asked: list[str] = []

    def write(self, assignment: Assignment) -> Answer:
        self.asked.append(assignment.idea.id)
        script = self._script[assignment.task.name] if isinstance(self._script, Mapping) else self._script
        lines = [line for line in script if not isinstance(line, KernelwrightError)]
        line = script[min(assignment.idea.number, len(script)) - 1]
        if isinstance(line, KernelwrightError):
            if assignment.idea.id not in self._raised:
                self._raised.add(assignment.idea.id)
                raise line
            line = lines[-1]
        kernel, problem, strategy = read_for(assignment, line)
        return Answer(line, kernel, problem, strategy, model=self.name, cost_usd=self._cost)

    def told(self, attempt: Attempt) -> None:
        return None

    def close(self) -> None:
        return None

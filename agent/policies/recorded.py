"""Repeat the ideas of a recorded run, one for one."""

from __future__ import annotations

from dataclasses import replace

from kernelwright.agent.policies.policy import Book, Search, Values
from kernelwright.tasks.errors import InputError
from kernelwright.tasks.records import Attempt, Idea


class Recorded:
    """Asks what the recorded run asked, number, stage, start point and seed alike, under the new run's id."""

    def __init__(self, search: Search, values: Values) -> None:
        if not search.script:
            raise InputError(
                f"nothing is recorded for task {search.task!r}", "policy 'recorded' needs --model replay:RUN of that task"
            )
        self._script = {idea.number: idea for idea in search.script}
        self._book = Book(replace(search, budget=min(search.budget, len(search.script)), patience=None, target=None))

    def ask(self) -> Idea | None:
        number = self._book.number()
        if number is None:
            return None
        recorded = self._script[sorted(self._script)[number - 1]]
        parent = None if recorded.parent is None else self._renamed(recorded.parent)
        self._book.ask(recorded.stage, parent, number)
        return replace(recorded, run=self._book.search.run, task=self._book.search.task, number=number, parent=parent)

    def tell(self, idea: Idea, attempt: Attempt) -> None:
        self._book.tell(idea, attempt)

    def _renamed(self, parent: str) -> str:
        for position, number in enumerate(sorted(self._script), start=1):
            if self._script[number].id == parent:
                return self._book.search.idea(position, self._script[number].stage).id
        return parent

"""Where ideas wait for their answers: one after the other, or several writers' calls at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

from kernelwright.agent.writers.writer import Assignment, Writer
from kernelwright.tasks.records import Answer, Idea


class Desk:
    """Calls the writer: when the answer is wanted (one job), or ahead of it in threads (several).

    Only the writer runs in those threads; policy, memory and store stay with the caller. A thread an idea is enough:
    the policy keeps the number of ideas in flight at ``jobs``. They are daemons, so that an abort waits for no model.
    """

    def __init__(self, writer: Writer, jobs: int) -> None:
        self._writer = writer
        self._ahead = jobs > 1
        self._calls: dict[str, Callable[[], Answer]] = {}

    def take(self, assignment: Assignment) -> None:
        """Put an idea on the desk."""
        call = partial(self._writer.write, assignment)
        if self._ahead:
            future: Future[Answer] = Future()
            threading.Thread(target=_fulfil, args=(future, call), name=assignment.idea.id, daemon=True).start()
            call = partial(future.result)
        self._calls[assignment.idea.id] = call

    def begun(self, idea: Idea) -> bool:
        """Whether a writer is at work on ``idea`` already: its answer will have to be paid for."""
        return self._ahead and idea.id in self._calls

    def answer(self, idea: Idea) -> Answer:
        """The writer's answer, once it is there; raises what the writer raised."""
        return self._calls.pop(idea.id)()


def _fulfil(future: Future[Answer], call: Callable[[], Answer]) -> None:
    try:
        future.set_result(call())
    except BaseException as error:  # noqa: BLE001  a thread's boundary: raised again where the answer is asked for
        future.set_exception(error)

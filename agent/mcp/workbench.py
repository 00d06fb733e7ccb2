"""The bench: one thread in which everything is judged, with the judge's processes kept between jobs.

One, because two kernels that are timed at once slow each other, and because the judge and the vector index are made for
one thread. Whoever brings a job gets a future, and waits as long as it likes.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

from kernelwright.evaluator.device import DeviceInfo
from kernelwright.evaluator.engines.engine import Engine, Job
from kernelwright.evaluator.engines.local import LocalEngine
from kernelwright.evaluator.settings import Settings
from kernelwright.tasks.records import Task, Verdict

T = TypeVar("T")

MOST_ENGINES = 2
"""Kept at work: each holds processes that have imported torch, some hundred MB."""


class Workbench:
    """Works off jobs in the order they were brought. Close it to end the judge's processes."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._engines: OrderedDict[tuple[str, str | None, Settings], LocalEngine] = OrderedDict()
        self._closing = threading.Event()
        # A daemon: a process that is told to go does not wait for a kernel under judgement, nothing of which is lost.
        self._thread = threading.Thread(target=self._work, name="bench", daemon=True)
        self._thread.start()

    def bring(self, work: Callable[[], T]) -> Future[T]:
        """Have ``work`` done in the bench's thread; the future gives what it returns or raises."""
        future: Future[T] = Future()

        def job() -> None:
            if self.stopping():
                future.cancel()
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001  a thread's boundary: raised again where the result is asked for
                future.set_exception(error)

        self._jobs.put(job)
        return future

    def stopping(self) -> bool:
        """Whether the bench is being closed: what is in flight is finished, nothing new is begun."""
        return self._closing.is_set()

    def lend(self, backend: str, device: str | None, settings: Settings) -> Lent:
        """An engine that is at work already where there was one. From the bench's own thread only.

        Raises:
            InputError: the backend cannot run on the device.
        """
        key = (backend, device, settings)
        if key not in self._engines:
            self._engines[key] = LocalEngine(backend, device, self._cache, settings)
            while len(self._engines) > MOST_ENGINES:
                self._engines.popitem(last=False)[1].close()
        self._engines.move_to_end(key)
        return Lent(self._engines[key])

    def close(self, seconds: float) -> bool:
        """Begin nothing more, and wait at most ``seconds`` for the job in hand. Whether it ended, and the judge with it.

        Where it did not, the process is to end all the same: its children end with it, and a run goes on from its last commit.
        """
        self._closing.set()
        self._jobs.put(None)
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
        for engine in self._engines.values():
            engine.close()


@dataclass(frozen=True)
class Lent:
    """An engine whose ``close`` lets go of nothing: the bench ends it."""

    engine: Engine

    def admit(self, task: Task) -> None:
        self.engine.admit(task)

    def evaluate(self, job: Job) -> Verdict:
        return self.engine.evaluate(job)

    def device(self) -> DeviceInfo:
        return self.engine.device()

    def close(self) -> None:
        return None

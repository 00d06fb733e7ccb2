"""The two kinds of competitor in a timing: a baseline in the reference's process, the kernel in its runner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from kernelwright.evaluator.effort import Effort
from kernelwright.evaluator.figures import CANDIDATE
from kernelwright.evaluator.session import OpenCase, Pool
from kernelwright.evaluator.trial import Rejected, Trial
from kernelwright.tasks.records import Stage, Status


@dataclass
class Work:
    """What a side was asked to do on the device."""

    calls: int = 0
    flushes: int = 0

    def add(self, calls: int, flushes: int) -> None:
        self.calls += calls
        self.flushes += flushes


class Asked(Protocol):
    """A process that has the baselines: the session's reference, or one on a chip."""

    def ask(self, op: str, /, **message: Any) -> tuple[dict[str, Any], list[int]]: ...

    def effort(self) -> Effort | None: ...


class BaselineSide:
    """A baseline in the reference's process."""

    def __init__(self, session: Asked, opened: OpenCase, name: str) -> None:
        self.name = name
        self._session = session
        self._key = opened.key
        self._slots = 0
        self.work = Work()

    def prepare(self, slots: Sequence[int]) -> None:
        self._slots = len(slots)
        self._session.ask("prepare", key=self._key, slots=list(slots))

    def run(self, head: int) -> float:
        self.work.add(self._slots, head + self._slots)
        return float(self._session.ask("time", key=self._key, name=self.name, head=head)[0]["host_us"])

    def account(self) -> float | None:
        found: float | None = self._session.ask("account")[0]["event_us"]
        return found

    def effort(self) -> Effort | None:
        return self._session.effort()

    def space(self, count: int, head: int) -> None:
        self.work.add(0, head + count)
        self._session.ask("space", count=count, head=head)


class CandidateSide:
    """The kernel in its runner."""

    name = CANDIDATE

    def __init__(self, trial: Trial, opened: OpenCase, pool: Pool) -> None:
        self._trial = trial
        self._opened = opened
        self._key = opened.key
        self._inputs = trial.pool_inputs(opened, pool)
        self.slots: Sequence[int] = ()
        self.work = Work()

    def prepare(self, slots: Sequence[int]) -> None:
        self.slots = list(slots)
        reply = self._trial.ask("prepare", slots=self.slots, **self._inputs)
        if reply["native_calls"]:
            made = f"{reply['native_calls']} native calls and launches while arguments were laid out"
            raise Rejected(Status.CHEATING, Stage.TIME, f"works ahead of the clock: {made}", {"rule": "ahead"})

    def run(self, head: int) -> float:
        self.work.add(len(self.slots), head + len(self.slots))
        reply = self._trial.ask("time", key=self._key, head=head)
        self._trial.timed(self._opened, reply, len(self.slots))
        return float(reply["host_us"])

    def account(self) -> float | None:
        found: float | None = self._trial.ask("account")["event_us"]
        return found

    def effort(self) -> Effort | None:
        return self._trial.effort()

    def space(self, count: int, head: int) -> None:
        self.work.add(0, head + count)
        self._trial.ask("space", count=count, head=head)

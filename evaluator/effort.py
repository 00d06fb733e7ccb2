"""What a process has of the cores, told from outside: its CPU time, how long it waits for a core, what it does unasked."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

_GRACE_SECONDS = 0.0005
"""CPU time after an answer that is nobody's work: going back to wait, threads that spin some 10 µs before they sleep."""
_SPARED, _SPARED_SHARE = 2, 0.03
"""Longest gaps that are left out, or this share of all: a core taken away by the host while a thread goes back to wait is
charged to the thread (docs/adr/0005). Who works unasked does so in gap after gap."""


def cpu_seconds(pid: int) -> float:
    """CPU time of all threads of a process so far, running ones included; 0 when it is gone."""
    with contextlib.suppress(OSError):
        return time.clock_gettime((~pid << 3) | 2)  # CPUCLOCK_SCHED of the process, as clock_getcpuclockid(3) makes it
    return 0.0


@dataclass(frozen=True)
class Effort:
    """What the threads of a process have had of the cores so far."""

    spent_us: float
    """CPU time."""
    waited_us: float
    """Time that threads which still live stood ready with no core; 0 where the kernel does not tell."""
    cores: int
    """That the process may use."""

    def withheld_us(self, before: Effort, elapsed_us: float) -> float:
        """Of ``elapsed_us`` since ``before``, what threads waited while cores were not the process's own.

        Threads that keep each other waiting have all the cores that there are: that is the kernel's own affair.
        """
        others = self.cores * elapsed_us - (self.spent_us - before.spent_us)
        return max(min(self.waited_us - before.waited_us, others), 0.0)


def effort(pid: int) -> Effort | None:
    """What process ``pid`` has had; None when it is gone, or for pid 0."""
    spent = cpu_seconds(pid) if pid else 0.0
    if not spent:
        return None
    waited = 0
    with contextlib.suppress(OSError):
        for task in os.scandir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError, ValueError, IndexError):  # a thread that has just ended; a system without it
                waited += int(Path(task.path, "schedstat").read_bytes().split()[1])
    with contextlib.suppress(OSError):
        return Effort(spent * 1e6, waited / 1e3, len(os.sched_getaffinity(pid)))
    return None


class Idleness:
    """CPU time that a process spends between its answers and the next requests, beyond what answering itself leaves behind.

    Threads that finish after a call, or that watch for the next inputs to be laid out, cannot work without spending it. ``pid``
    0: not counted (on a GPU the runner polls its pipe).
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._at: float | None = None
        self._gaps = 0
        self._worked: list[float] = []
        """Seconds of those gaps in which more was spent than :data:`_GRACE_SECONDS`."""

    @property
    def seconds(self) -> float:
        """Without the longest gaps (:data:`_SPARED`)."""
        spared = max(_SPARED, int(_SPARED_SHARE * self._gaps))
        return sum(sorted(self._worked)[: max(len(self._worked) - spared, 0)])

    def total(self) -> float:
        """CPU seconds of the process so far."""
        return cpu_seconds(self.pid) if self.pid else 0.0

    def answered(self) -> None:
        """An answer has just come."""
        self._at = cpu_seconds(self.pid) if self.pid else None

    def ask(self) -> None:
        """A request is about to be sent."""
        if self._at is not None:
            worked = cpu_seconds(self.pid) - self._at - _GRACE_SECONDS
            self._gaps += 1
            if worked > 0:
                self._worked.append(worked)
            self._at = None

"""What processes have of the cores, told from outside."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from kernelwright.evaluator.effort import Effort, Idleness, cpu_seconds, effort

SPIN = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])})\nwhile True: pass"


def spinning(core: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", SPIN, str(core)])


@pytest.fixture
def core() -> int:
    return min(os.sched_getaffinity(0))


@pytest.fixture
def busy(core: int) -> Iterator[int]:
    """A process that spins on ``core``."""
    with spinning(core) as process:
        _until(lambda: cpu_seconds(process.pid) > 0.05)
        yield process.pid
        process.kill()


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_process_beside_another_on_one_core_waits(busy: int, core: int) -> None:
    with ExitStack() as stack:
        other = stack.enter_context(spinning(core))
        stack.callback(other.kill)
        _until(lambda: cpu_seconds(other.pid) > 0.05)
        before, began = effort(busy), time.perf_counter()
        assert before is not None
        _until(lambda: cpu_seconds(busy) * 1e6 > before.spent_us + 2e5)
        after, elapsed = effort(busy), (time.perf_counter() - began) * 1e6
        assert after is not None
        assert after.cores == 1
        assert after.waited_us - before.waited_us > 0.2 * elapsed
        assert after.withheld_us(before, elapsed) > 0.2 * elapsed


def test_threads_that_keep_each_other_waiting_are_not_withheld_anything() -> None:
    """Three threads on two cores use all there is, and each waits a third of the time."""
    before = Effort(0.0, 0.0, 2)
    assert Effort(20_000.0, 10_000.0, 2).withheld_us(before, 10_000.0) == 0.0
    assert Effort(12_000.0, 7_000.0, 2).withheld_us(before, 10_000.0) == 7_000.0, "another process had eight of the twenty"
    assert Effort(12_000.0, -500.0, 2).withheld_us(before, 10_000.0) == 0.0, "a thread has ended, and its account with it"


def test_process_that_is_gone_has_nothing() -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    assert effort(child.pid) is None
    assert effort(0) is None
    assert cpu_seconds(child.pid) == 0.0


class Worker:
    """A process by its account alone: what it has worked so far, in seconds."""

    def __init__(self) -> None:
        self.worked = 0.0
        self.idle = Idleness(1)

    def gap(self, seconds: float) -> None:
        """It works so long between an answer and the next request."""
        self.idle.answered()
        self.worked += seconds
        self.idle.ask()


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Worker:
    found = Worker()
    monkeypatch.setattr("kernelwright.evaluator.effort.cpu_seconds", lambda pid: found.worked)
    return found


def test_time_spent_unasked_is_counted(worker: Worker) -> None:
    worker.idle.ask()
    assert worker.idle.seconds == 0.0, "nothing was answered yet"
    for _ in range(4):
        worker.gap(0.1)
    assert worker.idle.seconds == pytest.approx(0.199), "two gaps of four, half a millisecond of each free"
    worker.worked += 0.1  # while it is asked, it may work
    worker.idle.ask()
    worker.gap(0.0004)
    assert worker.idle.seconds == pytest.approx(0.199)


def test_a_gap_or_two_that_the_host_made_long_accuse_nobody(worker: Worker) -> None:
    for seconds in (0.0, 0.1, 0.0, 0.1, 0.0):
        worker.gap(seconds)
    assert worker.idle.seconds == 0.0
    worker.gap(0.1)
    assert worker.idle.seconds > 0.09, "the third is no accident"


def test_a_few_long_gaps_among_hundreds_accuse_nobody(worker: Worker) -> None:
    for _ in range(200):
        worker.gap(0.0)
    for _ in range(6):
        worker.gap(0.03)
    assert worker.idle.seconds == 0.0
    for _ in range(4):
        worker.gap(0.03)
    assert worker.idle.seconds > 0.09


def test_waiting_costs_nothing_and_zero_counts_nothing() -> None:
    with subprocess.Popen(["sleep", "60"]) as sleeping:
        idle, none = Idleness(sleeping.pid), Idleness(0)
        for counted in (idle, none):
            counted.answered()
        time.sleep(0.05)
        for counted in (idle, none):
            counted.ask()
        sleeping.kill()
    assert idle.seconds < 0.005
    assert none.seconds == 0.0

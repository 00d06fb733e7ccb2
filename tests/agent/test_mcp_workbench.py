"""The bench of the MCP server: one job at a time, engines kept, and an end that waits for nobody for long."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from kernelwright.agent.mcp.workbench import MOST_ENGINES, Workbench
from kernelwright.evaluator.settings import Settings
from kernelwright.tasks.errors import InputError


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Workbench]:
    bench = Workbench(tmp_path)
    yield bench
    bench.close(10)


def test_jobs_are_done_one_after_the_other_in_one_thread(bench: Workbench) -> None:
    done: list[tuple[int, str, str]] = []

    def job(number: int) -> int:
        done.append((number, "begun", threading.current_thread().name))
        time.sleep(0.01)
        done.append((number, "ended", threading.current_thread().name))
        return number

    futures = [bench.bring(lambda n=n: job(n)) for n in range(5)]  # type: ignore[misc]
    assert [future.result(10) for future in futures] == [0, 1, 2, 3, 4]
    assert done == [(n, what, "bench") for n in range(5) for what in ("begun", "ended")]


def test_what_a_job_raises_is_raised_to_who_brought_it(bench: Workbench) -> None:
    def broken() -> None:
        raise InputError("no")

    with pytest.raises(InputError, match="no"):
        bench.bring(broken).result(10)
    assert bench.bring(lambda: 1).result(10) == 1


def test_an_engine_is_kept_and_its_borrower_does_not_end_it(bench: Workbench) -> None:
    def lend(blocks: int) -> object:
        lent = bench.bring(lambda: bench.lend("cpp", "cpu", Settings(max_blocks=blocks))).result(10)
        lent.close()
        return lent.engine

    first = lend(0)
    assert lend(0) is first
    for other in range(1, MOST_ENGINES):
        lend(other)
    assert lend(0) is first
    for other in range(1, MOST_ENGINES + 1):
        lend(other)
    assert lend(0) is not first


def test_closing_waits_for_the_job_in_hand_but_not_for_long(bench: Workbench) -> None:
    begun, go = threading.Event(), threading.Event()
    job = bench.bring(lambda: (begun.set(), go.wait(30))[1])
    later = bench.bring(lambda: 1)
    assert begun.wait(10)
    assert not bench.stopping()
    began = time.monotonic()
    assert not bench.close(0.05)
    assert time.monotonic() - began < 5
    assert bench.stopping()
    go.set()
    assert bench.close(10)
    assert job.result(1) is True
    with pytest.raises(CancelledError):
        later.result(1)

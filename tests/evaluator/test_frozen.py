"""Another process, stopped and read from outside: its threads stand still, its memory is read by address and strides."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kernelwright.evaluator.effort import cpu_seconds
from kernelwright.evaluator.frozen import Unreadable, read, stopped, take
from kernelwright.evaluator.session import OpenCase
from kernelwright.tasks.records import ShapeCase, Use

CHILD = """
import sys, threading, time
import numpy as np
a = np.arange(24, dtype=np.float32).reshape(4, 6)
counts = np.zeros(2, dtype=np.int64)
def count(i):
    while True:
        counts[i] += 1
        if i == 1:
            time.sleep(1e-5)
threading.Thread(target=count, args=(1,), daemon=True).start()
print(a.ctypes.data, counts.ctypes.data, flush=True)
MODE = sys.argv[1]
if MODE == "busy":
    count(0)
time.sleep(60)
"""


class Process:
    def __init__(self, mode: str) -> None:
        self.popen = subprocess.Popen([sys.executable, "-c", CHILD, mode], stdout=subprocess.PIPE, text=True)
        assert self.popen.stdout is not None
        self.data, self.counts = map(int, self.popen.stdout.readline().split())
        self.pid = self.popen.pid

    def counted(self) -> list[int]:
        return np.frombuffer(read(self.pid, self.counts, 16), dtype=np.int64).tolist()

    def close(self) -> None:
        self.popen.kill()
        self.popen.communicate()


@pytest.fixture(scope="module")
def busy() -> Iterator[Process]:
    found = Process("busy")
    try:
        read(found.pid, found.data, 4)
    except Unreadable as problem:
        found.close()
        pytest.skip(f"no right to read another process here: {problem}")
    yield found
    found.close()


def test_memory_is_read_by_address(busy: Process) -> None:
    assert np.frombuffer(read(busy.pid, busy.data, 96), dtype=np.float32).tolist() == list(range(24))
    assert read(busy.pid, busy.data, 0) == b""
    with pytest.raises(Unreadable, match="memory"):
        read(busy.pid, 4096, 16)


def test_every_thread_stands_still_inside_and_goes_on_after(busy: Process) -> None:
    before = busy.counted()
    time.sleep(0.05)
    with stopped(busy.pid):
        first = busy.counted()
        time.sleep(0.05)
        assert busy.counted() == first
    time.sleep(0.1)
    after = busy.counted()
    assert all(b < f < a for b, f, a in zip(before, first, after, strict=True)), (before, first, after)


def test_an_error_inside_lets_it_go_on_too(busy: Process) -> None:
    with pytest.raises(ZeroDivisionError), stopped(busy.pid):
        raise ZeroDivisionError
    before = busy.counted()
    time.sleep(0.05)
    assert busy.counted()[0] > before[0]


def test_process_that_is_gone_cannot_be_stopped() -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    with pytest.raises(Unreadable, match="stop"), stopped(child.pid):
        pass


class Taking:
    """``take`` into a memory file, for one output of shape (4, 6) at offset 64."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.fd = os.memfd_create("outputs")
        os.ftruncate(self.fd, 4096)

    def take(self, at: list[int], strides: list[int], shape: tuple[int, ...] = (4, 6), dtype: str = "float32") -> Any:
        facts = {"output_specs": [{"shape": list(shape), "dtype": dtype, "offset": 64, "stride": 128}], "outputs": [{}]}
        opened = OpenCase(ShapeCase("a", Use.CORRECTNESS, {}, ("float32",)), "float32", facts, 1, (-1, self.fd))
        take(self._pid, opened, at, [{"strides": strides}])
        count = int(np.prod(shape))
        return np.frombuffer(os.pread(self.fd, count * 4, 64), dtype=np.float32).reshape(shape)


@pytest.fixture
def taking(busy: Process) -> Iterator[Taking]:
    found = Taking(busy.pid)
    yield found
    os.close(found.fd)


A = np.arange(24, dtype=np.float32)


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (0, (4, 6), [6, 1]),
        (0, (6, 4), [1, 6]),  # transposed
        (1, (4, 2), [6, 2]),  # every other column
        (3, (4, 3), [0, 1]),  # one row for all
        (5, (), []),
        (2, (3,), [7]),
        (0, (2, 1, 3), [12, 99, 2]),  # a stride that is never used
    ],
)
def test_outputs_are_taken_by_strides(
    busy: Process, taking: Taking, offset: int, shape: tuple[int, ...], strides: list[int]
) -> None:
    wanted = np.lib.stride_tricks.as_strided(A[offset:], shape, [4 * s for s in strides])
    got = taking.take([busy.data + 4 * offset], strides, shape)
    assert np.array_equal(got, wanted)


def test_an_empty_output_needs_no_memory(taking: Taking) -> None:
    assert taking.take([0], [3, 1], (0, 3)).size == 0


@pytest.mark.parametrize(
    ("at", "strides"),
    [
        ([], [6, 1]),  # no address
        ([1, 2], [6, 1]),  # too many
        (["data"], [6]),  # strides of another rank
        (["data"], [1 << 40, 1]),  # more than could be an output
        ([4096], [6, 1]),  # nobody's memory
        (["data"], [1 << 28, 1]),  # runs out of it
    ],
)
def test_what_does_not_fit_is_unreadable(busy: Process, taking: Taking, at: list[Any], strides: list[int]) -> None:
    with pytest.raises(Unreadable):
        taking.take([busy.data if a == "data" else a for a in at], strides)
    before = busy.counted()
    time.sleep(0.02)
    assert busy.counted()[0] > before[0], "it runs on"


def test_cpu_time_is_of_all_threads(busy: Process) -> None:
    before = cpu_seconds(busy.pid)
    time.sleep(0.1)
    assert cpu_seconds(busy.pid) - before > 0.02
    assert Path(f"/proc/{busy.pid}").exists()

"""Which library a process computes in, seen from outside: the kernel's own, another's, or neither."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kernelwright.evaluator.frozen import Unreadable, read
from kernelwright.evaluator.sampling import LEAST, LIBRARY, OWN, Sampler

SPIN = "void spin() { for (volatile long i = 0;; i = i + 1) {} }"
OWN_WORK = """
import ctypes, sys
lib = ctypes.CDLL(sys.argv[1])
print("ready", flush=True)
lib.spin()
"""
LIBRARY_WORK = """
import numpy as np
a = np.random.rand(700, 700)
print("ready", flush=True)
while True:
    a @ a
"""
NEITHER = """
print("ready", flush=True)
while True:
    pass
"""
ASLEEP = """
import time
print("ready", flush=True)
time.sleep(60)
"""


@contextmanager
def running(code: str, *arguments: str) -> Iterator[int]:
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, env=environment)
    assert child.stdout is not None
    child.stdout.readline()
    try:
        read(child.pid, 4096, 0)
        Path(f"/proc/{child.pid}/syscall").read_text()
        yield child.pid
    except (Unreadable, OSError) as problem:
        pytest.skip(f"no right to look at another process here: {problem}")
    finally:
        child.kill()
        child.communicate()


def sampled(pid: int, seconds: float = 0.4) -> Sampler:
    sampler = Sampler(pid)
    with sampler.during():
        time.sleep(seconds)
    assert sampler.problem == ""
    return sampler


def own_library(folder: Path, name: str) -> str:
    (folder / name).mkdir(parents=True)
    source, library = folder / "spin.c", folder / name / "k.so"
    source.write_text(SPIN)
    subprocess.run(["gcc", "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    return str(library)


@pytest.mark.skipif(not shutil.which("gcc"), reason="no gcc")
def test_own_library_is_own_work(tmp_path: Path) -> None:
    with running(OWN_WORK, own_library(tmp_path, "libraries")) as pid:
        sampler = sampled(pid)
    assert sampler.counts[OWN] > 0.8 * sampler.counts.total() > 0
    share = sampler.library_share()
    assert share is not None
    assert share < 0.1


def test_blas_is_library_work() -> None:
    with running(LIBRARY_WORK) as pid:
        sampler = sampled(pid)
    share = sampler.library_share()
    assert share is not None
    assert share > 0.8


def test_python_itself_is_neither() -> None:
    with running(NEITHER) as pid:
        sampler = sampled(pid)
    assert sampler.library_share() == 0.0
    assert sampler.counts[OWN] == 0
    assert sampler.counts.total() >= LEAST


def test_who_waits_is_not_counted_and_few_samples_say_nothing() -> None:
    with running(ASLEEP) as pid:
        assert sampled(pid, 0.1).library_share() is None
    sampler = Sampler(0)
    sampler.counts = Counter({LIBRARY: LEAST - 1})
    assert sampler.library_share() is None
    sampler.counts[OWN] += 1
    assert sampler.library_share() == (LEAST - 1) / LEAST


def test_process_that_is_gone_is_a_problem_not_an_error() -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    sampler = Sampler(child.pid)
    with sampler.during():
        time.sleep(0.02)
    assert sampler.problem
    assert sampler.library_share() is None

"""Whose code a runner executes, looked up from outside: the instruction pointers of its threads while it makes timed calls.

What a kernel reaches by an address that it computed itself, no list of imports, operators or symbols shows. Which library the
processor is in does. The runner is stopped at random moments; each of its threads' instruction pointers falls into a mapped
file: the kernel's own library, torch's libraries (which hold MKL and oneDNN), NumPy's BLAS, or something neutral (Python, libc,
libm, OpenMP). Copies, casts and fills, which are free, happen in torch's library too: their share is known from the
observed call.

On the CPU only; needs the right to read ``/proc/PID/syscall`` and ``maps`` of the runner (the same user, or root). Code that
the library makes at run time (oneDNN's) lies in no file and is neutral.
"""

from __future__ import annotations

import contextlib
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from kernelwright.evaluator.frozen import Unreadable, stopped

_LIBRARY = re.compile(
    r"/torch/lib/(?!.*gomp)|/libtorch|libmkl|libopenblas|libblas|libcblas|liblapack|libdnnl|scipy|/numpy[./]|numpy\.libs"
)
_OWN = "/libraries/"
"""Of the runner's folder: where the kernel's built libraries lie."""
_PAUSE_US = (200, 1500)
OWN, LIBRARY = "own", "library"
LEAST = 30
"""Samples without which nothing is concluded."""


class Sampler:
    """Samples a process while a block runs: ``with sampler.during(): …``."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.counts: Counter[str] = Counter()
        self.problem = ""
        self._rng = random.SystemRandom()

    @contextlib.contextmanager
    def during(self) -> Iterator[None]:
        """Sample from a thread of the judge's until the block ends."""
        over = threading.Event()
        thread = threading.Thread(target=self._watch, args=(over.is_set,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _watch(self, over: Callable[[], bool]) -> None:
        try:
            maps = _maps(self._pid)
            while not over() and not self.problem:
                time.sleep(self._rng.uniform(*_PAUSE_US) / 1e6)
                with stopped(self._pid):
                    self.counts.update(self._kind(at, maps) for at in _pointers(self._pid))
        except (OSError, Unreadable) as error:
            self.problem = str(error)

    def _kind(self, at: int, maps: list[tuple[int, int, str]]) -> str:
        path = next((path for low, high, path in maps if low <= at < high), "")
        if _OWN in path:
            return OWN
        return LIBRARY if _LIBRARY.search(path) else "neutral"

    def library_share(self) -> float | None:
        """Share of the samples that were in a library; None when there are too few to say anything."""
        total = self.counts.total()
        return self.counts[LIBRARY] / total if total >= LEAST else None


def _maps(pid: int) -> list[tuple[int, int, str]]:
    """Executable mappings: (start, end, file)."""
    found = []
    for line in Path(f"/proc/{pid}/maps").read_text(errors="replace").splitlines():
        parts = line.split(maxsplit=5)
        if "x" in parts[1]:
            low, _, high = parts[0].partition("-")
            found.append((int(low, 16), int(high, 16), parts[5] if len(parts) > 5 else ""))
    return found


def _pointers(pid: int) -> Iterator[int]:
    """Instruction pointers of the threads that are not waiting in a system call."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            words = (task / "syscall").read_text().split()
            if words[0] == "-1" and len(words) == 3:
                yield int(words[2], 16)

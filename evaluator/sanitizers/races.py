"""Races of OpenMP kernels, by comparing thread counts.

The kernel is run in fresh processes under 1 and 2N OpenMP threads (N, the processors that may be used, is what every
other stage runs), on a large correctness case, and each output is judged against the oracle. Processes of their
own, because a kernel may size its scratch once by the thread count it finds. Under 2N threads its library is one with
delays between the memory accesses (``noise.cpp``), built by g++: without them the threads of a small case hardly meet.

Wrong under 2N threads and right under 1, or at least once under N, is ``incorrect``. Wrong under 1
decides nothing and is reported: a serial sum in float32 is less exact than the same sum in parts.

This finds races that change an output in some of these runs. It misses one that needs rarer interleavings, threads
that a kernel starts itself, and a ``num_threads`` clause keeps its count. Where clang and Archer are installed they
would see more; :func:`archer` says whether they are. g++'s ThreadSanitizer accuses correct OpenMP, so it is not used.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from kernelwright.evaluator.sanitizers.finding import Finding
from kernelwright.evaluator.session import OpenCase, Session
from kernelwright.evaluator.trial import Rejected, Trial
from kernelwright.tasks.records import Status

_CONFIRMING = 3
"""Chances to be right once under the usual count, where 1 thread says nothing: a racy kernel may fail there too."""
Start = Callable[[int, bool], Trial]
"""A loaded runner under that many threads, of the library with delays or as it is."""
REPEATS = 10
"""Draws under the most threads: a race loses some of them only."""


def archer() -> str:
    """Path of LLVM's race checker for OpenMP beside clang++; empty where it is not installed."""
    clang = shutil.which("clang++")
    if clang is None:
        return ""
    beside = Path(clang).resolve().parent.parent / "lib"
    return next((str(path) for path in sorted(beside.glob("**/libarcher.so"))), "")


def by_thread_counts(start: Start, session: Session, opened: OpenCase, delays: bool) -> tuple[Finding | None, str]:
    """The race found, if any, and the method in words. ``delays``: whether there is a library with delays.

    Raises:
        Outside: the case is outside the kernel's envelope.
    """
    usual = len(os.sched_getaffinity(0))
    method = "compared thread counts " + ", ".join(str(n) for n in sorted({1, usual, 2 * usual}))
    method += ", with delays between memory accesses" if delays else ""
    alone = _failure(start, session, opened, 1, 1, False) if usual > 1 else None
    if alone is not None:
        method += f"; under 1: {alone.status.value}: {alone.reason[:120]}"
    crowded = _failure(start, session, opened, 2 * usual, REPEATS, delays)
    if crowded is None:
        return None, method
    if crowded.status not in (Status.INCORRECT, Status.RUNTIME_ERROR):
        return None, f"{method}; under {2 * usual}: {crowded.status.value}, which decides nothing here"
    unsure = alone is not None or usual == 1
    if unsure and all(_failure(start, session, opened, usual, 1, False) is not None for _ in range(_CONFIRMING)):
        return None, f"{method}; it always fails under {usual} too, so no race is needed to explain it"
    return _found(crowded, 2 * usual), method


def _failure(
    start: Start, session: Session, opened: OpenCase, threads: int, repeats: int, delayed: bool
) -> Rejected | None:
    """How the kernel fails under a number of threads, in some of several draws."""
    trial: Trial | None = None
    try:
        trial = start(threads, delayed)
        trial.build(opened)
        for _ in range(repeats):
            trial.try_draw(session, opened)
    except Rejected as failure:
        return failure
    finally:
        if trial is not None:
            trial.close()
    return None


def _found(failure: Rejected, threads: int) -> Finding:
    crashed = failure.status is Status.RUNTIME_ERROR
    detail = f"right under fewer OpenMP threads, {'fails' if crashed else 'wrong'} under {threads}: {failure.reason}"
    kind = "crash under another thread count" if crashed else "race, or a size that assumes a thread count"
    return Finding("threads", kind, detail=detail, status=failure.status)

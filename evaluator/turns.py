"""Whose turn it is at a device: one judge that times, or any number that do other work there. Across processes of this user.

A judge that waits for its turn to time lets no further one begin other work, so that it waits for what is under way and no
longer. Not seen: what else runs on the machine, other users' judges, and judges in another mount namespace.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from kernelwright.evaluator.chip_npu import physical


@contextmanager
def exclusive(device: str) -> Iterator[float]:
    """The device to ourselves while something is timed; gives the seconds waited for it. Not inside :func:`shared`."""
    yield from _turn(device, fcntl.LOCK_EX)


@contextmanager
def shared(device: str) -> Iterator[float]:
    """Work on the device while nobody times there; gives the seconds waited for it."""
    yield from _turn(device, fcntl.LOCK_SH)


def _turn(device: str, kind: int) -> Iterator[float]:
    began = time.monotonic()
    with _file(device, "queue") as queue, _file(device, "lock") as lock:
        fcntl.flock(queue, fcntl.LOCK_EX)
        fcntl.flock(lock, kind)
        fcntl.flock(queue, fcntl.LOCK_UN)
        yield time.monotonic() - began


def _file(device: str, use: str) -> TextIO:
    """The lock file, never through a link that somebody else laid in the common folder."""
    path = Path(tempfile.gettempdir()) / f"kernelwright-{os.getuid()}-{_physical(device)}.{use}"
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), "r+")


def _physical(device: str) -> str:
    """One name for one device, however this process counts: ``cuda`` is ``cuda:0``, and that the first visible one."""
    kind, _, index = device.partition(":")
    if kind == "npu":
        return f"npu-{physical(int(index or 0))}"
    if kind == "tpu":
        return f"tpu-{int(index or 0)}"
    if kind != "cuda":
        return device.replace(":", "-")
    seen = [entry.strip() for entry in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if entry.strip()]
    number = int(index or 0)
    name = seen[number] if number < len(seen) else str(number)
    return f"cuda-{''.join(c if c.isalnum() else '-' for c in name)}"

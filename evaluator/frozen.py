"""Look into a runner from outside: stop it, and read its memory without its help.

What a runner exports it copies itself, and code in it can still work at that moment. The outputs of timed calls are
therefore read by the judge while every thread of the runner is stopped, at the addresses that the reply inside the clock
named: what was not there when the clock stopped is not there now.

Reading needs the right to trace the process (the same user, or root; some containers forbid it): where it fails the
runner's own copy is compared, and the verdict says so. On a GPU memory cannot be read so.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from kernelwright.evaluator.session import OpenCase
from kernelwright.tasks.expression import ITEMSIZE

_STOP_SECONDS = 2.0
_MOST = 8 << 30
_CHUNK = 16 << 20


class Unreadable(Exception):
    """The process's memory cannot be read from here."""


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Every thread of the process stands still inside the block.

    Raises:
        Unreadable: it did not stop, or is gone.
    """
    try:
        os.kill(pid, signal.SIGSTOP)
    except OSError as error:
        raise Unreadable(f"cannot stop the runner: {error}") from error
    try:
        _wait_stopped(pid)
        yield
    finally:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGCONT)


def _wait_stopped(pid: int) -> None:
    deadline = time.monotonic() + _STOP_SECONDS
    while not all(state in "TtZX" for state in _states(pid)):
        if time.monotonic() > deadline:
            raise Unreadable("the runner did not stop")
        time.sleep(0.0002)


def _states(pid: int) -> str:
    """One letter a thread."""
    found = ""
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                found += (task / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError as error:
        raise Unreadable(f"the runner is gone: {error}") from error
    return found


def take(pid: int, opened: OpenCase, at: Sequence[int], described: Sequence[Mapping[str, Any]]) -> None:
    """Copy the outputs that lie at the addresses ``at`` of the stopped process to where the reference reads them.

    Raises:
        Unreadable: it cannot be done: not permitted, no such memory, addresses and descriptions that do not fit.
    """
    specs, outputs = opened.facts["output_specs"], opened.facts["outputs"]
    if not len(at) == len(described) == len(outputs):
        raise Unreadable(f"{len(at)} addresses for {len(outputs)} outputs")
    with stopped(pid):
        blocks = [_gathered(pid, a, d, s) for a, d, s in zip(at, described, specs, strict=False)]
    for block, spec in zip(blocks, specs, strict=False):
        _write(opened.fds[-1], block, int(spec["offset"]))


def _write(fd: int, block: bytes | bytearray, at: int) -> None:
    """The whole block: one call writes 2 GiB at most."""
    left = memoryview(block)
    while left:
        done = os.pwrite(fd, left, at)
        left, at = left[done:], at + done


def _gathered(pid: int, address: int, described: Mapping[str, Any], spec: Mapping[str, Any]) -> bytes | bytearray:
    """One tensor's elements in order, whatever its strides."""
    shape, size = [int(n) for n in spec["shape"]], ITEMSIZE[str(spec["dtype"])]
    if 0 in shape:
        return b""
    strides = [int(n) for n in described["strides"]]
    if len(strides) != len(shape):
        raise Unreadable("strides that do not fit the shape")
    span = 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    if span * size > _MOST:
        raise Unreadable(f"an output that spans {span * size} bytes")
    block = read(pid, address, span * size)
    if strides == _contiguous(shape):
        return block  # as it lies: an output of gigabytes is not copied twice more
    data = np.frombuffer(block, dtype=f"V{size}")
    steps = [s * size for s in strides]
    return np.ascontiguousarray(np.lib.stride_tricks.as_strided(data, shape, steps)).tobytes()


def _contiguous(shape: Sequence[int]) -> list[int]:
    """Strides, in elements, of a tensor of ``shape`` that lies in order."""
    return [prod(shape[i + 1 :]) for i in range(len(shape))]


def read(pid: int, address: int, nbytes: int) -> bytearray:
    """``nbytes`` of the process's memory.

    Raises:
        Unreadable: not permitted, or no such memory.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "process_vm_readv"):
        raise Unreadable("this libc has no process_vm_readv")
    libc.process_vm_readv.restype = ctypes.c_ssize_t
    data = bytearray(nbytes)
    place = (ctypes.c_char * nbytes).from_buffer(data) if nbytes else None
    done = 0
    while place is not None and done < nbytes:
        size = min(_CHUNK, nbytes - done)
        here, there = _Vector(ctypes.addressof(place) + done, size), _Vector(address + done, size)
        got = libc.process_vm_readv(pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
        if got <= 0:
            raise Unreadable(f"reading the runner's memory failed: {os.strerror(ctypes.get_errno())}")
        done += got
    return data

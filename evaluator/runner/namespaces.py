"""Namespaces of their own for a runner, and the two small processes that keep it.

``server`` forks the *keeper* A. In a pid namespace A forks the namespace's *init* B and B forks the runner C; without one
A forks C. A and B run no candidate code. A passes C's end on, and ends everything when it gets SIGTERM: with a pid
namespace whatever C left behind, also a grandchild that called ``setsid``, is gone before A is; without one A adopts
orphans (child subreaper) and ends those it finds, which a fast fork bomb can outrun.
"""

from __future__ import annotations

import contextlib
import os
import signal
import struct
from collections.abc import Callable, Sequence
from typing import NoReturn

from kernelwright.evaluator.runner import linux

USER, NETWORK, PROCESS, IPC, MOUNT = "user", "net", "pid", "ipc", "mount"
FLAGS = {USER: 0x10000000, NETWORK: 0x40000000, PROCESS: 0x20000000, IPC: 0x08000000, MOUNT: 0x00020000}
ALL = (USER, NETWORK, PROCESS, IPC, MOUNT)

_SWEEPS = 50


def enter(names: Sequence[str]) -> None:
    """Move this single-threaded process into new namespaces; its children follow, into the pid namespace they alone.

    Raises:
        OSError: the kernel or its settings do not let this user.
    """
    uid, gid = os.geteuid(), os.getegid()
    flags = 0
    for name in names:
        flags |= FLAGS[name]
    if not flags:
        return
    linux.unshare(flags)
    if USER in names:
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{uid} {uid} 1")
        _write("/proc/self/gid_map", f"{gid} {gid} 1")
    if MOUNT in names:
        linux.mount("none", "/", "", linux.MS_REC | linux.MS_PRIVATE)


def fresh_proc() -> None:
    """A ``/proc`` that shows this pid namespace only.

    Raises:
        OSError: not allowed here, as in containers that mask parts of their ``/proc``.
    """
    linux.mount("proc", "/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)


def bounded_folder(path: str, nbytes: int) -> None:
    """An empty file system in memory over ``path`` that holds at most ``nbytes``."""
    linux.mount("tmpfs", path, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, f"size={nbytes},nr_inodes=65536,mode=700")


def keep(names: Sequence[str], forget: Sequence[int], prepare: Callable[[], None], run: Callable[[], NoReturn]) -> NoReturn:
    """Become the keeper; ``run`` is called in the runner, ``prepare`` before it as the pid namespace's init.

    ``forget``: descriptors that only the runner may hold, so that its end is seen at the other side.
    """
    if PROCESS not in names:
        linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
        prepare()
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(told)
        linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
        if PROCESS not in names:
            os.close(tell)
            run()
        prepare()
        _init(tell, forget, run)
    os.close(tell)
    _close(forget)
    signal.signal(signal.SIGTERM, lambda *_: _kill(child))
    status = _wait(child)
    if PROCESS in names:
        word = os.read(told, 4)  # nothing when B was ended from outside
        status = struct.unpack("i", word)[0] if len(word) == 4 else status
    else:
        _sweep()
    _end_as(status)


def _init(tell: int, forget: Sequence[int], run: Callable[[], NoReturn]) -> NoReturn:
    """Process 1 of the namespace: start the runner, reap orphans, tell how the runner ended, and take all along."""
    runner = os.fork()
    if runner == 0:
        os.close(tell)
        run()
    _close(forget)
    while True:
        pid, status = os.wait()
        if pid == runner:
            os.write(tell, struct.pack("i", status))
            os._exit(0)


def _wait(child: int) -> int:
    while True:
        pid, status = os.wait()
        if pid == child:
            return status


def _sweep() -> None:
    """End adopted orphans, generation by generation."""
    for _ in range(_SWEEPS):
        try:
            with open(f"/proc/self/task/{os.getpid()}/children") as file:  # noqa: PTH123 - no more imports in a forked child
                orphans = [int(word) for word in file.read().split()]
        except OSError:
            return
        if not orphans:
            return
        for orphan in orphans:
            _kill(orphan)
        for _ in orphans:
            with contextlib.suppress(ChildProcessError):
                os.wait()


def _end_as(status: int) -> NoReturn:
    """End the way the runner did."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF if os.WIFEXITED(status) else 70)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _close(descriptors: Sequence[int]) -> None:
    for fd in descriptors:
        with contextlib.suppress(OSError):
            os.close(fd)


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)

"""Accidents of the machine that must not be taken for a kernel's or a task's: a full or read-only disk, a device that is gone.

A verdict reached on a full disk is no verdict: a compiler that cannot write looks like a kernel that does not build, a
baseline that cannot be compiled makes a speedup look larger. So there must be room before a judging and after it. Not seen: a
disk that was full for a moment in between, and a device that fails in ways that its driver does not report.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kernelwright.tasks.errors import HarnessError

ROOM_BYTES = 16 << 20
"""What a build, its temporary files and a runner's scratch folder take at least."""
_ROOM_REMEDY = "free some space, or name other folders: --home DIR for builds, TMPDIR for scratch"
_DEVICE_LOST = re.compile(
    r"no CUDA-capable device|No CUDA GPUs are available|Found no NVIDIA driver|invalid device ordinal|busy or unavailable"
    r"|driver initialization failed|driver shutting down|system not yet initialized|system has unsupported display driver"
    r"|uncorrectable ECC|GPU is lost|CUDA error: unknown error",
    re.IGNORECASE,
)

_CONTEXT_BROKEN = re.compile(r"CUDA error: (an illegal|misaligned|device-side assert|unspecified launch)", re.IGNORECASE)


def check_room(*folders: Path) -> None:
    """There must be room to write in each of ``folders``.

    Raises:
        HarnessError: one is full, read-only or not there.
    """
    for folder in folders:
        try:
            status = os.statvfs(folder)
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(b"\1" * 4096)
                file.flush()
        except OSError as error:
            raise HarnessError(f"{folder} cannot be written to: {error.strerror}", _ROOM_REMEDY) from error
        left = status.f_bavail * status.f_frsize
        if left < ROOM_BYTES:
            raise HarnessError(f"{folder} has {left >> 20} MiB left, and {ROOM_BYTES >> 20} MiB are needed", _ROOM_REMEDY)


@contextmanager
def on_sound_ground(cache: Path) -> Iterator[None]:
    """Around what is judged or measured: the folders that it writes to have room, before and after.

    Raises:
        HarnessError: they have not, or the judge itself met an error of the system.
    """
    folders = (cache, Path(tempfile.gettempdir()))
    check_room(*folders)
    try:
        yield
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise HarnessError(f"the judge's own system call failed: {where}{error.strerror or error}", _ROOM_REMEDY) from error
    check_room(*folders)


def device_lost(text: str) -> bool:
    """Whether an error's text says that the device or its driver is not usable, whatever runs on it."""
    return _DEVICE_LOST.search(text) is not None


def context_broken(text: str) -> bool:
    """Whether an error's text says that a kernel left its process without a usable device: a crash, though it lives on."""
    return _CONTEXT_BROKEN.search(text) is not None


def memory_kills() -> int:
    """Processes that this host's kernel ended for want of memory, since it started; 0 where it does not tell."""
    try:
        rows = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(row.split()[1]) for row in rows if row.startswith("oom_kill ")), 0)

"""The system calls that the sandbox needs and Python's ``os`` does not have, by ctypes; failures raise OSError."""

from __future__ import annotations

import ctypes
import os
import struct

PR_SET_PDEATHSIG = 1
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE = 1 << 12, 1 << 14, 1 << 18
MNT_DETACH = 2

_MOUNT_SETATTR = 442
_MOUNT_ATTR_RDONLY = 1
_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_CAPABILITY_VERSION = 0x20080522
_LAST_CAPABILITY = 63

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, call: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
    return result


def syscall(name: str, number: int, *arguments: int | bytes | ctypes.Array[ctypes.c_char] | None) -> int:
    """Any system call by its number; integers are passed as 64 bits."""
    passed = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return _checked(int(_libc.syscall(ctypes.c_long(number), *passed)), name)


def prctl(option: int, value: int = 0, third: int = 0) -> int:
    longs = [ctypes.c_ulong(v) for v in (value, third, 0, 0)]
    return _checked(int(_libc.prctl(option, *longs)), "prctl")


def unshare(flags: int) -> None:
    _checked(int(_libc.unshare(flags)), "unshare")


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    words = (w.encode() if w else None for w in (source, target, kind))
    _checked(int(_libc.mount(*words, ctypes.c_ulong(flags), options.encode() or None)), f"mount {target}")


def read_only(target: str) -> None:
    """Make a mount and all below it read-only (Linux 5.12)."""
    attributes = struct.pack("QQQQ", _MOUNT_ATTR_RDONLY, 0, 0, 0)
    where = os.fsencode(target)
    syscall("mount_setattr", _MOUNT_SETATTR, _AT_FDCWD, where, _AT_RECURSIVE, attributes, len(attributes))


def pivot_root(folder: str) -> None:
    """Make ``folder``, a mount, the root of this mount namespace; the old root is gone."""
    os.chdir(folder)
    syscall("pivot_root", _PIVOT_ROOT[os.uname().machine], b".", b".")
    _checked(int(_libc.umount2(b".", MNT_DETACH)), "umount2")
    os.chdir("/")


def drop_capabilities() -> None:
    """Give up every capability, also what an executed file or the user 0 would bring back."""
    for capability in range(_LAST_CAPABILITY + 1):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError:  # beyond the kernel's last, or already without the right to drop: execution then gains nothing
            break
    header = struct.pack("Ii", _CAPABILITY_VERSION, 0)
    _checked(int(_libc.capset(header, struct.pack("6I", *[0] * 6))), "capset")

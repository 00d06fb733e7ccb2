"""Landlock: what files a process may reach, named by the folders above them; everything else is denied.

Not denied by any version so far: ``stat`` and ``chdir`` (names and sizes of files stay visible), ``chmod`` and the like
of a file's metadata where the user may do so, Unix sockets by path name, and what open descriptors already reach.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from kernelwright.evaluator.runner.linux import syscall

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_VERSION_FLAG = 1
_PATH_BENEATH = 1

_EXECUTE, _WRITE, _READ, _LIST = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_TRUNCATE, _DEVICE_IOCTL = 1 << 14, 1 << 15
_MAKE_DEVICE = 1 << 6 | 1 << 11
_FILE_RIGHTS = _EXECUTE | _WRITE | _READ | _TRUNCATE | _DEVICE_IOCTL
_ALL = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
"""Version -> the rights over files that it can take away."""
_TCP = 1 << 0 | 1 << 1
_SCOPES = 1 << 0 | 1 << 1
"""Abstract Unix sockets and signals of processes outside."""


@dataclass(frozen=True)
class Access:
    """What stays reachable. Folders include all that is below them."""

    read: Sequence[str] = ()
    """To read, list and execute."""
    listed: Sequence[str] = ()
    """To list only, with all below."""
    write: Sequence[str] = ()
    devices: Sequence[str] = ()
    """Device files to read, write and control."""


def version() -> int:
    """The version of Landlock in this kernel.

    Raises:
        OSError: there is none, or it is switched off.
    """
    return syscall("landlock_create_ruleset", _CREATE, None, 0, _VERSION_FLAG)


def restrict(access: Access) -> int:
    """Confine this process and its children, for good; returns Landlock's version. Needs ``no_new_privs``.

    From version 4 no TCP connection can be made or accepted, from 6 no process outside can be signalled.
    """
    abi = version()
    handled = _ALL[min(abi, max(_ALL))]
    attributes = struct.pack("QQQ", handled, _TCP if abi >= 4 else 0, _SCOPES if abi >= 6 else 0)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    ruleset = syscall("landlock_create_ruleset", _CREATE, attributes[:size], size, 0)
    try:
        grants = (
            (access.read, _READ | _LIST | _EXECUTE),
            (access.listed, _LIST),
            (access.write, handled & ~_MAKE_DEVICE & ~_DEVICE_IOCTL),
            (access.devices, _READ | _WRITE | _TRUNCATE | _LIST | _DEVICE_IOCTL),
        )
        for paths, rights in grants:
            for path in paths:
                _allow(ruleset, path, rights & handled)
        syscall("landlock_restrict_self", _RESTRICT, ruleset, 0)
    finally:
        os.close(ruleset)
    return abi


def _allow(ruleset: int, path: str, rights: int) -> None:
    """Grant ``rights`` below ``path``; what is not there needs no grant."""
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            rights &= _FILE_RIGHTS
        if rights:
            syscall("landlock_add_rule", _ADD, ruleset, _PATH_BENEATH, struct.pack("<Qi", rights, fd), 0)
    finally:
        os.close(fd)

"""A root of its own for a runner: only what it may see, bound read-only. Where the kernel has no Landlock.

Needs a mount namespace. It does not protect against what open descriptors already reach.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from kernelwright.evaluator.runner import linux
from kernelwright.evaluator.runner.visible import Visible


def own_root(base: str, seen: Visible, write: Sequence[str], read: Sequence[str], proc: bool) -> None:
    """Make a root under the empty folder ``base`` and move this process into it.

    ``write`` and ``read``: folders beside ``seen``. ``proc``: mount a ``/proc`` of this pid namespace.

    Raises:
        OSError: the kernel does not let this process.
    """
    linux.mount("tmpfs", base, "tmpfs", linux.MS_NOSUID, "size=1m,mode=755")
    Path(base, "proc").mkdir()
    for path in sorted({*seen.read, *read}, key=len):
        if not path.startswith("/proc"):
            _bind(base, path, frozen=True)
    for path in (*seen.devices, *seen.write, *write):
        _bind(base, path, frozen=False)
    Path(base, "tmp").mkdir(exist_ok=True)
    if proc:
        linux.mount("proc", f"{base}/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
    linux.mount("", base, "", linux.MS_BIND | linux.MS_RDONLY | 0x20 | linux.MS_NOSUID)  # 0x20: remount
    linux.pivot_root(base)


def _bind(base: str, path: str, frozen: bool) -> None:
    """Bind ``path`` at its own name below ``base``; a link becomes a link."""
    place = Path(base + path)
    if not Path(path).exists() or os.path.lexists(place):
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    real = os.path.realpath(path)
    if real != path:
        _bind(base, real, frozen)
        place.symlink_to(real)
        return
    if Path(path).is_dir():
        place.mkdir()
    else:
        place.touch()
    linux.mount(path, str(place), "", linux.MS_BIND | linux.MS_REC)
    if frozen:
        linux.read_only(str(place))

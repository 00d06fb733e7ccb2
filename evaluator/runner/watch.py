"""What a runner's processes take, looked up from outside while the judge waits: memory, processes, files.

A backstop for what the kernel's own limits do not cover (on a GPU there is none on the address space; a forking kernel
has as many as it has processes). It looks every ``EVERY`` seconds and only while a request is under way; in between, a
fast writer can get as far as its speed takes it.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

EVERY = 0.05
"""Seconds between two looks; a request that is answered sooner is not looked at."""
_PAGE = resource.getpagesize()
_ENTRIES = 4096
_PROCESSES = 256


@dataclass(frozen=True)
class Bounds:
    """What one runner may take."""

    memory_bytes: int
    """Resident, over all its processes, beyond what the first one has at its start."""
    folder: Path
    """Its scratch folder, as it sees it."""
    disk_bytes: int
    processes: int = _PROCESSES


class Watch:
    """Looks at the processes that descend from ``root``, and at the scratch folder."""

    def __init__(self, root: int, bounds: Bounds) -> None:
        self._root = root
        self._bounds = bounds
        self._floor = sum(map(_resident, self._tree()))

    def excess(self) -> tuple[str, str]:
        """What is exceeded (``memory``, ``processes``, ``disk``; empty when nothing is) and the figure seen."""
        tree = list(self._tree())
        if len(tree) > self._bounds.processes:
            return "processes", f"{len(tree)} processes at once"
        taken = sum(map(_resident, tree)) - self._floor
        if taken > self._bounds.memory_bytes and (taken := sum(map(_share, tree))) > self._bounds.memory_bytes:
            return "memory", f"{taken >> 20} MiB resident, {self._bounds.memory_bytes >> 20} MiB allowed"
        written = _written(self._bounds.folder)
        if written > self._bounds.disk_bytes:
            return "disk", f"{written >> 20} MiB of files, {self._bounds.disk_bytes >> 20} MiB allowed"
        return "", ""

    def _tree(self) -> Iterator[int]:
        """Process numbers below the root, at most one more than is allowed."""
        queue, seen = [self._root], 0
        while queue and seen <= self._bounds.processes:
            pid = queue.pop()
            seen += 1
            yield pid
            queue += _children(pid)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (thread / "children").read_text().split())
    except OSError:  # it ended meanwhile
        pass
    return found


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def _share(pid: int) -> int:
    """Resident bytes with pages that several processes share counted once among them: exact, and too slow to ask each time."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return _resident(pid)
    return sum(int(line.split()[1]) << 10 for line in rollup.splitlines() if line.startswith("Pss:"))


def _written(folder: Path) -> int:
    """Bytes of the files below ``folder``; more than any bound when there are too many to count."""
    total, count, queue = 0, 0, [str(folder)]
    while queue:
        try:
            with os.scandir(queue.pop()) as entries:
                for entry in entries:
                    count += 1
                    if count > _ENTRIES:
                        return 1 << 62
                    if entry.is_dir(follow_symlinks=False):
                        queue.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
        except OSError:  # it changes while we look
            continue
    return total

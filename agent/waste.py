"""What a workspace can do without: artifacts that nothing refers to, and builds that nobody has used for long.

A result rests on the store's rows and on the files of its runs, so whatever looks like an artifact's hash in either keeps that
artifact. Nothing else decides: a reference that this module has never heard of counts as well.
"""

from __future__ import annotations

import mmap
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from kernelwright.agent.bench.plan import BENCH_FILE
from kernelwright.agent.workspace import Workspace
from kernelwright.memory.artifacts import HASH, Artifacts, Swept
from kernelwright.memory.store import Store
from kernelwright.tasks.errors import InputError, WorkspaceError

LEAST_GRACE = 5.0
"""Minutes. An artifact is put a moment before the row that refers to it is committed."""
_HASH_IN_FILE = re.compile(HASH.pattern.encode())
_NO_RECORDS = ("artifacts", "cache", "chroma")
"""Folders of the workspace whose files refer to no artifact, the index being made from the store."""


@dataclass(frozen=True)
class Cache:
    """What was freed of builds and compiled baselines."""

    entries: int = 0
    bytes: int = 0
    kept: int = 0
    in_use: str = ""
    """A run that is being worked on: the cache was left alone."""


@dataclass(frozen=True)
class Collected:
    """What a collection freed, or would free."""

    dry_run: bool
    artifacts: Swept
    cache: Cache

    @property
    def bytes(self) -> int:
        return self.artifacts.bytes + self.cache.bytes


def collect(workspace: Workspace, *, dry_run: bool = False, grace: float = 60.0, cache_days: float = 14.0) -> Collected:
    """Free what is not needed. ``grace``: minutes for which anything that was put lately stays; runs may be at work meanwhile.

    Raises:
        InputError: a grace too short, or a store that does not hold all runs of the workspace: what those rest on would
            look like waste.
        WorkspaceError: something cannot be read or deleted.
    """
    if not grace >= LEAST_GRACE:
        raise InputError(f"--grace is {grace:g}", f"give at least {LEAST_GRACE:g} minutes: a run may be about to commit")
    if not cache_days >= 0:
        raise InputError(f"--cache-days is {cache_days:g}", "give a number of days of at least 0")
    now = time.time()
    before = now - grace * 60  # taken before references are read: a row that comes later refers to what was put later
    referred = _referred(workspace)
    swept = Artifacts(workspace.home / "artifacts").sweep(referred, before, dry=dry_run)
    return Collected(dry_run, swept, _clean(workspace, min(before, now - cache_days * 86400), dry_run))


def _referred(workspace: Workspace) -> set[str]:
    """Hashes of artifacts that the workspace's store, or any file that its runs and exchanges left, names."""
    own = f"sqlite:///{workspace.home / 'store.db'}"
    urls = {workspace.store_url, *([own] if (workspace.home / "store.db").is_file() else [])}
    referred: set[str] = set()
    known: set[str] = set()
    for url in sorted(urls):
        store = Store(url, workspace.home / "artifacts")
        try:
            referred |= store.referred()
            known |= {run.id for run in store.runs()}
        finally:
            store.close()
    if strangers := sorted(_runs(workspace.home) - known):
        raise InputError(
            f"the store does not hold {len(strangers)} of the runs under {workspace.home / 'runs'}: {', '.join(strangers[:3])}",
            "give the --store that they were made with, or move their folders away; nothing was deleted",
        )
    for path in _records(workspace.home):
        referred |= _hashes(path)
    return referred


def _runs(home: Path) -> set[str]:
    """Ids of the runs that have a folder; a bench has one, too, and is no run."""
    folders = (p for p in home.glob("runs/*") if p.is_dir() and not (p / BENCH_FILE).is_file())
    return {p.name for p in folders if any(p.iterdir())}


def _records(home: Path) -> Iterator[Path]:
    for top in sorted(home.iterdir()):
        if top.name in _NO_RECORDS or top.name.startswith("store.db"):
            continue
        yield from (p for p in (top.rglob("*") if top.is_dir() else [top]) if p.is_file())


def _hashes(path: Path) -> set[str]:
    try:
        with path.open("rb") as file:
            if not path.stat().st_size:
                return set()
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return {found.decode() for found in _HASH_IN_FILE.findall(content)}
    except FileNotFoundError:  # a run at work has replaced it
        return set()
    except OSError as error:
        raise WorkspaceError(f"cannot read {path}: {error.strerror}", "nothing was deleted; check its permissions") from error


def _clean(workspace: Workspace, before: float, dry: bool) -> Cache:
    """Delete cache entries last used before ``before``; none while a run is being worked on, which may be about to use one."""
    if held := [p.name for p in sorted(workspace.home.glob("runs/*")) if workspace.held(p.name)]:
        return Cache(in_use=held[0])
    entries = size = kept = 0
    for parts in _entries(workspace.cache):
        files = [f for part in parts for f in (part.rglob("*") if part.is_dir() else [part]) if f.is_file()]
        used = [p.lstat().st_mtime for p in parts] + [max(s.st_mtime, s.st_atime) for s in (f.lstat() for f in files)]
        if max(used, default=0.0) >= before:
            kept += 1
            continue
        entries, size = entries + 1, size + sum(f.lstat().st_size for f in files)
        if not dry:
            _delete(parts)
    return Cache(entries, size, kept)


def _entries(cache: Path) -> Iterator[list[Path]]:
    """What belongs together in the cache's folders: ``native/<key>.so`` and ``native/<key>.json``, ``triton/<key>/``."""
    for kind in sorted(p for p in cache.glob("*") if p.is_dir()):
        for _, parts in groupby(sorted(kind.iterdir()), key=lambda p: p.name.partition(".")[0] or p.name):
            yield list(parts)


def _delete(parts: Iterable[Path]) -> None:
    for part in parts:
        try:
            if part.is_dir() and not part.is_symlink():
                shutil.rmtree(part)
            else:
                part.unlink(missing_ok=True)
        except OSError as error:
            raise WorkspaceError(f"cannot delete {part}: {error.strerror}", "check its permissions") from error


"""The workspace: one folder with the store, the artifacts, the index, the builds and the runs (design §3)."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from kernelwright.tasks.errors import InputError, WorkspaceError
from kernelwright.tasks.records import Task

if TYPE_CHECKING:  # the store brings SQLAlchemy, which listing a folder does not need
    from kernelwright.memory.memory import Memory
    from kernelwright.memory.store import Store

DEFAULT_HOME = ".kernelwright"


class RunHeld(InputError):
    """Another process is at work on the run."""


@dataclass(frozen=True)
class Workspace:
    """Where everything of a person's runs lives."""

    home: Path
    store_url: str

    @classmethod
    def at(cls, home: Path | None, store: str | None) -> Workspace:
        """The workspace of ``--home`` or ``KERNELWRIGHT_HOME``, default ``.kernelwright/``; made if need be.

        Raises:
            WorkspaceError: the folder cannot be made or written.
        """
        path = Path(home or os.environ.get("KERNELWRIGHT_HOME") or DEFAULT_HOME).absolute()
        try:
            path.mkdir(parents=True, exist_ok=True)
            probe = path / f".probe-{os.getpid()}"
            probe.write_text("")
            probe.unlink()
        except OSError as error:
            reason = f"the workspace {path} cannot be written: {error.strerror}"
            raise WorkspaceError(reason, "choose a folder you may write with --home or KERNELWRIGHT_HOME") from error
        return cls(path, store or os.environ.get("KERNELWRIGHT_STORE") or f"sqlite:///{path / 'store.db'}")

    @property
    def cache(self) -> Path:
        """Builds and oracles; may be deleted."""
        return self.home / "cache"

    @property
    def exchange(self) -> Path:
        """Prompts that wait for answers."""
        return self.home / "exchange"

    def run(self, run: str) -> Path:
        """The folder of one run: report, recording, winning kernels."""
        return self.home / "runs" / run

    def best(self, run: str, task: Task) -> Path:
        """The folder of a task's winning kernel."""
        return self.run(run) / "best" / task.slug

    def open_store(self) -> Store:
        """The store; the caller closes it."""
        from kernelwright.memory.store import Store

        return Store(self.store_url, self.home / "artifacts")

    def open_memory(self, exclude: Collection[str] = ()) -> Memory:
        """The memory, with the store in it; the caller closes it. The index opens when it is first needed.

        ``KERNELWRIGHT_INDEX`` names a Chroma server in place of ``chroma/``, ``KERNELWRIGHT_MEMORY_CAPACITY`` how many learned
        experiences recall may choose from.

        Raises:
            InputError: one of them makes no sense; WorkspaceError: the store cannot be opened.
        """
        from kernelwright.memory.memory import Settings, open_memory

        index = os.environ.get("KERNELWRIGHT_INDEX") or None
        return open_memory(self.home, self.store_url, Settings(capacity=_capacity()), exclude, index)

    @contextmanager
    def hold(self, run: str) -> Iterator[None]:
        """Hold a run for this process. The lock goes with the process, however it ends.

        Raises:
            RunHeld: another process is at work on the run.
        """
        folder = self.run(run)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("a+") as file:
            try:
                _lock(file)
            except OSError as error:
                file.seek(0)
                owner = file.read().strip() or "unknown"
                raise RunHeld(
                    f"run {run} is being worked on by process {owner}", "wait for it, or end it and resume again"
                ) from error
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield

    def held(self, run: str) -> bool:
        """Whether a process is at work on a run now."""
        path = self.run(run) / "lock"
        if not path.is_file():
            return False
        with path.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False


def _lock(file: IO[str]) -> None:
    """Lock for good, or raise OSError. Who only looks whether it is held lets go within a moment."""
    for _ in range(4):
        with suppress(BlockingIOError):
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        time.sleep(0.02)
    return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _capacity() -> int:
    said = os.environ.get("KERNELWRIGHT_MEMORY_CAPACITY") or "100000"
    if not said.isdecimal() or not 100 <= int(said) <= 10_000_000:
        raise InputError(f"KERNELWRIGHT_MEMORY_CAPACITY is {said!r}", "give a whole number from 100 to 10000000")
    return int(said)

"""Zygotes: processes that have imported torch, from which every fork-server is forked.

Importing takes 3–6 s, a fork 20 ms. There is one zygote for each environment, shared by all judges of this process, so that
only the first of them waits. A zygote runs no kernel and no reference and never becomes a fork-server itself: what a judge
gets is as fresh as one that was started for it alone.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from kernelwright.evaluator.runner.channel import Channel, ChannelClosed, ChannelTimeout
from kernelwright.tasks.errors import HarnessError

_START_SECONDS = 120.0
_FORK_SECONDS = 30.0
_IDLE = 2
"""Zygotes that are kept though no fork-server of theirs is in use."""


class Forked:
    """A fork-server's process, which is the zygote's child and not ours."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._fd: int | None = None
        with contextlib.suppress(OSError):  # Linux before 5.3: by its number, which is taken until the zygote is asked again
            self._fd = os.pidfd_open(pid)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self._fd is None:
                os.kill(self.pid, signal.SIGKILL)
            else:
                signal.pidfd_send_signal(self._fd, signal.SIGKILL)

    def wait(self, seconds: float = 10.0) -> bool:
        """Whether it has ended, at the latest after so many seconds."""
        if self._fd is not None:
            poll = select.poll()
            poll.register(self._fd, select.POLLIN)
            return bool(poll.poll(seconds * 1e3))
        deadline = time.monotonic() + seconds
        while not (ended := self._ended()) and time.monotonic() < deadline:
            time.sleep(0.005)
        return ended

    def _ended(self) -> bool:
        try:
            return Path(f"/proc/{self.pid}/stat").read_bytes().rpartition(b")")[2].split()[0] in b"ZX"
        except OSError:
            return True

    def close(self) -> None:
        """Forget it; it is neither ended nor asked any more."""
        if self._fd is not None:
            os.close(self._fd)


class Zygote:
    """One of them, started at once; it is ready when its imports are done."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.users = 0
        """Fork-servers that may be asked to fork, or have been forked and not been closed."""
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._layers: Mapping[str, str] | None = None
        self._channel, theirs = Channel.pair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "kernelwright.evaluator.runner.server", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
                cwd="/",  # -m puts it first on the path: no folder that others can write to
            )

    @property
    def alive(self) -> bool:
        """Whether it can be asked by this process."""
        return self._owner == os.getpid() and self._process.poll() is None

    def wait_ready(self) -> Mapping[str, str]:
        """Wait for the imports; what :func:`kernelwright.evaluator.runner.sandbox.probe` found. HarnessError when they fail."""
        with self._lock:
            if self._layers is None:
                try:
                    hello, _ = self._channel.receive(_START_SECONDS)
                except (ChannelClosed, ChannelTimeout) as error:
                    said = self._end().splitlines()[-1:]
                    message = f"the fork-server did not start: {' '.join(said) or error}"
                    raise HarnessError(message, "try `python -c 'import torch'`") from error
                self._layers = dict(hello["layers"])
            return self._layers

    def fork(self, theirs: socket.socket) -> Forked:
        """A fork-server that serves this end of a channel.

        Raises:
            ChannelClosed, ChannelTimeout: the zygote is gone, or does not answer.
        """
        with self._lock:
            self._channel.send({"op": "fork"}, [theirs.fileno()])
            return Forked(int(self._channel.receive(_FORK_SECONDS)[0]["pid"]))  # not reaped before the next request

    def close(self) -> None:
        """End it, and what was forked from it."""
        if self._owner == os.getpid():
            self._end()

    def _end(self) -> str:
        """End it; the tail of what it wrote to stderr, where it did not get ready."""
        self._channel.close()
        try:
            self._process.wait(2.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        stream = self._process.stderr
        if stream is None or stream.closed:
            return ""
        with stream:
            return stream.read().decode(errors="replace").strip() if self._layers is None else ""


_zygotes: dict[tuple[tuple[str, str], ...], Zygote] = {}
_guard = threading.Lock()


def take(environment: Mapping[str, str]) -> Zygote:
    """The zygote of this environment, started where there is none; to be given back."""
    key = tuple(sorted(environment.items()))
    with _guard:
        found = _zygotes.pop(key, None)
        if found is None or not found.alive:
            if found is not None:
                found.close()
            found = Zygote(environment)
        _zygotes[key] = found  # the last one used comes last
        found.users += 1
        return found


def give_back(zygote: Zygote) -> None:
    """A fork-server of it is closed; of idle zygotes only the last used are kept."""
    with _guard:
        zygote.users -= 1
        idle = [key for key, each in _zygotes.items() if not each.users]
        for key in idle[:-_IDLE]:
            _zygotes.pop(key).close()


@atexit.register
def _close_all() -> None:
    with _guard:
        while _zygotes:
            _zygotes.popitem()[1].close()

"""The judge's handles on its child processes: a fork-server, and one :class:`Child` a candidate or reference."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kernelwright
from kernelwright.evaluator.runner.channel import Channel, ChannelClosed, ChannelTimeout
from kernelwright.tasks.errors import HarnessError

_START_SECONDS = 120.0
_SPIN_SECONDS = 0.5
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "CUDA_HOME", "CUDA_PATH", "CUDA_VISIBLE_DEVICES", "TMPDIR")
"""Environment variables a child may see; everything else, keys above all, stays behind."""


@dataclass(frozen=True)
class Gone:
    """A child that ended or had to be ended."""

    how: str
    """``exit``, ``signal`` or ``timeout``."""
    number: int
    log: str
    """Tail of what it wrote to stdout and stderr."""

    def __str__(self) -> str:
        if self.how == "timeout":
            return "no answer in time"
        if self.how == "signal":
            with contextlib.suppress(ValueError):
                return f"killed by {signal.Signals(self.number).name}"
            return f"killed by signal {self.number}"
        return f"the process ended by itself with exit code {self.number}"


class ChildGone(Exception):
    """A child did not answer a request; ``gone`` says why."""

    def __init__(self, gone: Gone) -> None:
        super().__init__(str(gone))
        self.gone = gone


class ForkServer:
    """A warm process that forks children; see :mod:`kernelwright.evaluator.runner.server`."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._channel, theirs = Channel.pair()
        source = str(Path(kernelwright.__file__).resolve().parent.parent)
        self.environment = {
            **{k: v for k, v in os.environ.items() if k in _PASSED_ON},
            "HOME": tempfile.gettempdir(),
            "PYTHONPATH": os.pathsep.join([source, *_site_paths()]),
            "PYTHONDONTWRITEBYTECODE": "1",
            **environment,
        }
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "kernelwright.evaluator.runner.server", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
                cwd=tempfile.gettempdir(),
            )
        self._ready = False

    def wait_ready(self) -> None:
        """Wait for the imports; HarnessError when they fail."""
        if self._ready:
            return
        try:
            self._channel.receive(_START_SECONDS)
        except (ChannelClosed, ChannelTimeout) as error:
            self.close()
            assert self._process.stderr is not None
            tail = self._process.stderr.read().decode(errors="replace").strip().splitlines()[-1:]
            raise HarnessError(
                f"the fork-server did not start: {' '.join(tail) or error}", "try `python -c 'import torch'`"
            ) from error
        self._ready = True

    def spawn(self, role: str, scratch: Path, config: Mapping[str, Any], **how: Any) -> Child:
        """Fork a child of ``role`` (``candidate`` or ``reference``) that works in ``scratch``.

        ``how``: ``environment`` (replaces the server's), ``limits`` (see ``server._limit``).
        """
        self.wait_ready()
        ours, theirs = Channel.pair()
        log = scratch / f"{role}.log"
        with theirs, log.open("wb") as sink:
            request = {
                "op": "spawn",
                "role": role,
                "scratch": str(scratch),
                "config": dict(config),
                "environment": {**self.environment, **how.get("environment", {})},
                "limits": how.get("limits", {}),
            }
            reply = self._ask(request, [theirs.fileno(), sink.fileno()], 30.0)
        return Child(self, int(reply["pid"]), ours, log)

    def reap(self, pid: int, seconds: float) -> int | None:
        """The wait status of a child, None if it still lives after ``seconds``."""
        status = self._ask({"op": "wait", "pid": pid, "seconds": seconds}, [], seconds + 30.0)["status"]
        return None if status is None else int(status)

    def close(self) -> None:
        """End the server and, with it, every child."""
        self._channel.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(2.0)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._process.stderr is not None and self._ready:
            self._process.stderr.close()

    def _ask(self, request: Mapping[str, Any], fds: Sequence[int], seconds: float) -> dict[str, Any]:
        try:
            self._channel.send(request, fds)
            return self._channel.receive(seconds)[0]
        except (ChannelClosed, ChannelTimeout) as error:
            raise HarnessError(f"the fork-server is gone: {error}", "run the command again; a run resumes") from error


class Child:
    """One forked process and its private pipe."""

    def __init__(self, server: ForkServer, pid: int, channel: Channel, log: Path) -> None:
        self._server = server
        self.pid = pid
        self._channel = channel
        self._log = log
        self._ended: Gone | None = None
        self.spin_on: frozenset[str] = frozenset()
        """Requests whose reply is polled for; where the cores are not what is being timed."""

    def ask(
        self, op: str, seconds: float, fds: Sequence[int] = (), /, **message: Any
    ) -> tuple[dict[str, Any], list[int]]:
        """Send a request and wait for its reply, at most ``seconds``.

        Raises:
            ChildGone: the child ended, sent no frame, or took too long (it is then killed with its whole group).
        """
        if self._ended is not None:
            raise ChildGone(self._ended)
        try:
            self._channel.send({"op": op, **message}, fds)
            return self._channel.receive(seconds, _SPIN_SECONDS if op in self.spin_on else 0.0)
        except ChannelTimeout:
            raise ChildGone(self.kill("timeout")) from None
        except ChannelClosed:
            raise ChildGone(self.kill("ended")) from None

    @property
    def alive(self) -> bool:
        """Whether it has answered everything so far."""
        return self._ended is None

    def kill(self, why: str = "ended") -> Gone:
        """End the child's whole process group and say how it ended."""
        if self._ended is not None:
            return self._ended
        status = self._server.reap(self.pid, 1.0 if why == "ended" else 0.0)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        if status is None:
            status = self._server.reap(self.pid, 10.0)
        self._channel.close()
        number = status or 0
        if why == "timeout":
            how, number = "timeout", 0
        elif os.WIFSIGNALED(number):
            how, number = "signal", os.WTERMSIG(number)
        else:
            how, number = "exit", os.waitstatus_to_exitcode(number)
        self._ended = Gone(how, number, _tail(self._log))
        return self._ended


def _tail(log: Path, size: int = 4000) -> str:
    try:
        with log.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - size))
            return file.read().decode(errors="replace").strip()
    except OSError:
        return ""


def _site_paths() -> list[str]:
    """Where this interpreter finds third-party packages, for a child whose PYTHONPATH was carried by hand."""
    return [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]

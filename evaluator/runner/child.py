"""One child process as the judge holds it: ask it, watch it, end it, and say how it ended."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from kernelwright.evaluator.runner import sandbox
from kernelwright.evaluator.runner.channel import Channel, ChannelBroken, ChannelClosed, ChannelTimeout
from kernelwright.evaluator.runner.watch import EVERY, Bounds, Watch
from kernelwright.tasks.errors import HarnessError

_START_SECONDS = 120.0
_SPIN_SECONDS = 0.5
_ENDED = {
    "timeout": "no answer in time",
    "closed": "the process closed the judge's pipe",
    "broken": "the process wrote something else than its answer on the judge's pipe",
    "memory": "the process took too much memory",
    "processes": "the process started too many others",
    "disk": "the process wrote too much into its scratch folder",
}
_TERM_SECONDS = 2.0


@dataclass(frozen=True)
class Gone:
    """A child that ended or had to be ended."""

    how: str
    """``exit``, ``signal``, ``timeout``, ``closed`` (its end of the pipe), ``broken`` (no frame, or one that was not
    asked for), or what its :class:`~kernelwright.evaluator.runner.watch.Watch` found: ``memory``, ``processes``, ``disk``."""
    number: int
    log: str
    """Tail of what it wrote to stdout and stderr."""
    detail: str = ""

    def __str__(self) -> str:
        if self.how in _ENDED:
            return f"{_ENDED[self.how]}{self.detail and f' ({self.detail})'}"
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


class Reaper(Protocol):
    """The process whose child it is."""

    def reap(self, pid: int, seconds: float) -> int | None:
        """The wait status of a child, None if it still lives after ``seconds``."""
        ...


class Child:
    """One forked process and its private pipe."""

    def __init__(
        self, server: Reaper, pid: int, channel: Channel, log: Path, trusted: bool, confined: bool | None = None
    ) -> None:
        self._server = server
        self.pid = pid
        self._channel = channel
        self._log = log
        self._trusted = trusted
        self._kept = not trusted if confined is None else confined
        """Whether ``pid`` is a keeper's."""
        self._ended: Gone | None = None
        self._watch: Watch | None = None
        self.worker = pid
        """The process that runs the code, by its number here: below the keeper, for an untrusted child."""
        self.layers: Mapping[str, str] = {}
        """Layer of the sandbox -> ``on`` or ``off: why``, as the child said before it loaded anything untrusted."""
        self.folder = Path()
        """An untrusted child's folder, as reached from here while the child lives. What is in it is untrusted: links too."""
        self.spin_on: frozenset[str] = frozenset()
        """Requests whose reply is polled for; where the cores are not what is being timed."""

    def greet(self) -> None:
        """Take the child's first frame, sent before it loads anything; HarnessError when none comes."""
        try:
            hello, _ = self._channel.receive(_START_SECONDS)
        except (ChannelClosed, ChannelTimeout):
            gone = self.kill()
            last = (gone.log.splitlines() or [""])[-1]
            raise HarnessError(f"a child process did not start: {gone}. {last}", "try --sandbox off to see why") from None
        self.layers = dict(hello.get("sandbox", {}))
        self.worker = _youngest(self.pid)

    def watch(self, work: Path, memory_bytes: int | None) -> None:
        """Bound what the child takes from here on; ``work``: its folder."""
        inside = Path(f"/proc/{self.pid}/root{work}")  # it may have a file system of its own there
        self.folder = inside if self.layers.get("namespaces") == "on" else work
        if memory_bytes is not None:
            self._watch = Watch(self.pid, Bounds(memory_bytes, self.folder, 2 * sandbox.WORK_BYTES))

    def ask(self, op: str, seconds: float, fds: Sequence[int] = (), /, **message: Any) -> tuple[dict[str, Any], list[int]]:
        """Send a request and wait for its reply, at most ``seconds``.

        An untrusted child must repeat the request's secret number, so that no reply can be sent ahead by who has not read it.

        Raises:
            ChildGone: the child ended, sent something else, took too long or too much (it is then killed with all it started).
        """
        if self._ended is not None:
            raise ChildGone(self._ended)
        ticket = secrets.randbits(48)
        why, detail = "ended", ""
        try:
            if not self._trusted and self._channel.unread:
                raise ChannelBroken("an answer to no request")
            self._channel.send({"op": op, "ticket": ticket, **message}, fds, seconds)
            reply, received = self._await(seconds, _SPIN_SECONDS if op in self.spin_on else 0.0)
            if self._trusted or reply.pop("ticket", None) == ticket:
                return reply, received
            why, detail = "broken", "an answer to another request"
        except ChannelTimeout:
            why = "timeout"
        except ChannelBroken as broken:
            why, detail = "broken", str(broken)
        except ChannelClosed:
            pass
        except _Exceeded as exceeded:
            why, detail = exceeded.args
        raise ChildGone(self.kill(why, detail))

    def _await(self, seconds: float, spin: float) -> tuple[dict[str, Any], list[int]]:
        if self._watch is None:
            return self._channel.receive(seconds, spin)
        deadline = time.monotonic() + seconds
        while True:
            left = deadline - time.monotonic()
            try:
                return self._channel.receive(min(max(left, 1e-4), max(EVERY, spin)), spin)
            except ChannelTimeout:
                if left <= EVERY:
                    raise
            spin = 0.0
            what, figure = self._watch.excess()
            if what:
                raise _Exceeded(what, figure)

    @property
    def alive(self) -> bool:
        """Whether it has answered everything so far."""
        return self._ended is None

    def kill(self, why: str = "ended", detail: str = "") -> Gone:
        """End the child and whatever it started, and say how it ended.

        Raises:
            HarnessError: the fork-server is gone, and with it the child; once.
        """
        if self._ended is not None:
            return self._ended
        self._ended = Gone("closed", 0, "")
        try:
            status = self._server.reap(self.pid, 1.0 if why == "ended" else 0.0)
            if status is None:
                why = "closed" if why == "ended" else why
                status = self._end()
            elif not self._kept:
                self._end_group()  # a keeper leaves nothing behind, but the reference's compilers have processes of their own
        finally:
            self._channel.close()
        number = status or 0
        if why in _ENDED:
            how, number = why, 0
        elif os.WIFSIGNALED(number):
            how, number = "signal", os.WTERMSIG(number)
        else:
            how, number = "exit", os.waitstatus_to_exitcode(number)
        self._ended = Gone(how, number, _tail(self._log), detail)
        return self._ended

    def _end(self) -> int | None:
        """A keeper ends all that its runner started when told to; others, and keepers that do not, are killed."""
        if self._kept:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, signal.SIGTERM)
            status = self._server.reap(self.pid, _TERM_SECONDS)
            if status is not None:
                return status
        self._end_group()
        return self._server.reap(self.pid, 10.0)

    def _end_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


class _Exceeded(Exception):
    """The watch found too much of something: what, and the figure."""


def _youngest(pid: int) -> int:
    """The last of a line of only children."""
    while True:
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except OSError:
            return pid
        if len(children) != 1:
            return pid
        pid = int(children[0])


def _tail(log: Path, size: int = 4000) -> str:
    try:
        with log.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - size))
            return file.read().decode(errors="replace").strip()
    except OSError:
        return ""

"""The judge's handle on its fork-server, which makes one :class:`Child` a candidate or reference."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import kernelwright
from kernelwright.evaluator.runner import sandbox, zygote
from kernelwright.evaluator.runner.channel import Channel, ChannelClosed, ChannelTimeout
from kernelwright.evaluator.runner.child import Child, ChildGone, Gone
from kernelwright.tasks.errors import HarnessError

__all__ = ["Child", "ChildGone", "ForkServer", "Gone"]

_PASSED_ON = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "CUDA_HOME", "CUDA_PATH", "CUDA_VISIBLE_DEVICES", "TMPDIR")
"""Environment variables a child may see; everything else, keys above all, stays behind."""


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
        self._theirs: socket.socket | None = theirs
        self._zygote = zygote.take(self.environment)
        self._process: zygote.Forked | None = None
        self._layers: Mapping[str, str] = {}
        self._closed = False

    @property
    def process(self) -> zygote.Forked:
        """The server itself, once it is ready."""
        self.wait_ready()
        assert self._process is not None
        return self._process

    @property
    def layers(self) -> Mapping[str, str]:
        """What :func:`kernelwright.evaluator.runner.sandbox.probe` found, once the server is ready."""
        self.wait_ready()
        return self._layers

    def wait_ready(self) -> None:
        """Wait for the zygote's imports, and be forked from it; HarnessError when they fail."""
        if self._theirs is None:
            return
        try:
            self._layers = self._zygote.wait_ready()
            with self._theirs:
                self._process = self._zygote.fork(self._theirs)
            self._theirs = None
        except HarnessError:
            self.close()
            raise
        except (ChannelClosed, ChannelTimeout) as error:
            self.close()
            raise HarnessError(f"the fork-server did not start: {error}", "run the command again; a run resumes") from error

    def spawn(self, role: str, scratch: Path, config: Mapping[str, Any], **how: Any) -> Child:
        """Fork a child of ``role`` that works in ``scratch``: the ``reference``, a ``yardstick`` (the reference on a chip), or
        an untrusted one in a sandbox.

        An untrusted child works in ``scratch/work``, the only folder it can write to, and may read ``scratch/libraries``.
        So does a reference for which a ``sandbox`` is given, a stranger's: it says what is right, and is confined all the same.

        ``how``: ``environment`` (added to the server's), ``limits`` (see ``server._limit``), ``sandbox`` (a
        :class:`~kernelwright.evaluator.runner.sandbox.Plan`; default: all layers that work, processes allowed),
        ``memory_bytes`` (for the watch on an untrusted child; None: none), ``wired`` (a kind of device: with its
        :mod:`~kernelwright.evaluator.runner.tripwire` laid already; default: without).
        """
        self.wait_ready()
        trusted = role in ("reference", "yardstick")
        confined = not trusted or how.get("sandbox") is not None
        ours, theirs = Channel.pair(untrusted=not trusted)
        log = scratch / f"{role}.log"
        plan = how.get("sandbox") or sandbox.plan("auto", self.layers, gpu=False, processes=True)
        own = _workplace(scratch) if confined else {}
        with theirs, log.open("wb") as sink:
            request = {
                "op": "spawn",
                "role": role,
                "scratch": str(scratch),
                "config": dict(config),
                "environment": {**self.environment, **own, **how.get("environment", {})},
                "limits": how.get("limits", {}),
                "sandbox": asdict(plan),
                "confined": confined,
                "wired": how.get("wired", ""),
            }
            try:
                reply = self._ask(request, [theirs.fileno(), sink.fileno()], 30.0)
            except HarnessError:
                ours.close()
                raise
        child = Child(self, int(reply["pid"]), ours, log, trusted, confined)
        child.greet()
        if confined:
            child.watch(scratch / "work", how.get("memory_bytes"))
        return child

    def reap(self, pid: int, seconds: float) -> int | None:
        """The wait status of a child, None if it still lives after ``seconds``."""
        status = self._ask({"op": "wait", "pid": pid, "seconds": seconds}, [], seconds + 30.0)["status"]
        return None if status is None else int(status)

    def close(self) -> None:
        """End the server and, with it, every child."""
        if self._closed:
            return
        self._closed = True
        self._channel.close()
        if self._theirs is not None:
            self._theirs.close()
        if self._process is not None:
            if not self._process.wait(2.0):
                self._process.kill()
                self._process.wait()
            self._process.close()
        zygote.give_back(self._zygote)

    def _ask(self, request: Mapping[str, Any], fds: Sequence[int], seconds: float) -> dict[str, Any]:
        try:
            self._channel.send(request, fds)
            return self._channel.receive(seconds)[0]
        except (ChannelClosed, ChannelTimeout) as error:
            raise HarnessError(f"the fork-server is gone: {error}", "run the command again; a run resumes") from error


def _workplace(scratch: Path) -> dict[str, str]:
    """Make an untrusted child's two folders; the variables that point there."""
    for folder in ("work", "libraries"):
        (scratch / folder).mkdir(exist_ok=True)
    work = str(scratch / "work")
    return {"HOME": work, "TMPDIR": work, "PYTHONPATH": ""}


def _site_paths() -> list[str]:
    """Where this interpreter finds third-party packages, for a child whose PYTHONPATH was carried by hand."""
    return [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]

"""The zygote and the fork-servers: it imports torch (and triton) once and forks them; they fork one child a request.

A forked child starts in 10–16 ms where a fresh interpreter takes 1.5–6 s. Neither runs a torch operation (a
multi-threaded one before the fork would hang every child), opens a device or touches CUDA.

Run as ``python -m kernelwright.evaluator.runner.server FD``, FD being one end of a socket pair.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import pkgutil
import resource
import signal
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any, NoReturn

from kernelwright.evaluator.chip import VARIABLE
from kernelwright.evaluator.runner import linux, namespaces, tripwire
from kernelwright.evaluator.runner.channel import MAX_FRAME, MAX_UNTRUSTED, Channel, ChannelClosed
from kernelwright.evaluator.runner.sandbox import Plan, Sandbox, probe
from kernelwright.evaluator.runner.visible import visible

_ROLES = {
    "candidate": "kernelwright.evaluator.runner.candidate",
    "reference": "kernelwright.evaluator.runner.reference",
    "yardstick": "kernelwright.evaluator.runner.yardstick",
    "program": "kernelwright.evaluator.runner.program",
}
_LAZY = ("kernelwright.evaluator.runner", "kernelwright.evaluator.backends")
"""Packages whose modules are imported here, because runners import them on the way: by then their source is hidden."""

_PROCESSES = 4096
"""Processes and threads of one runner: a many-core machine's OpenMP team fits many times."""


def main(fd: int) -> None:
    """Fork servers until the judge closes its end; they die with the zygote, and every child with its server."""
    layers = probe()  # before torch starts a thread
    import torch

    with contextlib.suppress(ImportError):
        import triton  # noqa: F401
    for module in filter(None, os.environ.get("KERNELWRIGHT_IMPORT", "").split(",")):  # of the language; opens no device
        importlib.import_module(module)
    _preload()
    tripwire.look_up_operators(os.environ.get(VARIABLE, "").partition(":")[0])
    for gpu in (False, True):
        visible(gpu, own_proc=True)
    if kind := os.environ.get(VARIABLE, "").partition(":")[0]:
        visible(False, own_proc=True, chip=kind)
    gc.collect()
    gc.freeze()  # a child's collections then leave the pages that it shares alone
    channel = Channel(socket.socket(fileno=fd))
    channel.send({"ready": True, "torch": torch.__version__, "layers": layers})
    _breed(channel)


def _breed(channel: Channel) -> None:
    """Fork a fork-server for each request, which serves the descriptor that comes with it."""
    with contextlib.suppress(ChannelClosed):
        while True:
            _, (fd,) = channel.receive(None)
            _bury()
            pid = os.fork()
            if pid == 0:
                with _process_boundary():
                    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
                    channel.close()
                    _Forks(Channel(socket.socket(fileno=fd))).serve()
            os.close(fd)
            channel.send({"pid": pid})
    _bury()


def _bury() -> None:
    """Take the status of every fork-server that has ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


class _Forks:
    """Forks children on request, itself or by a branch: a fork of this server in which the wire of a kind of device is laid.

    A runner that may leave nothing to the library comes from a branch, and finds the wire there; the reference never does.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._branches: dict[str, Channel] = {}
        self._homes: dict[int, Channel] = {}
        """Children of the branches."""

    def serve(self) -> None:
        """Until the other end is closed, or a branch is gone."""
        with contextlib.suppress(ChannelClosed):
            while True:
                request, fds = self._channel.receive(None)
                if request["op"] == "spawn":
                    self._channel.send({"pid": self._spawn(request, fds)})
                elif request["op"] == "wait":
                    self._channel.send({"status": self._wait(request)})

    def _spawn(self, request: dict[str, Any], fds: list[int]) -> int:
        if wired := request.pop("wired"):
            branch = self._branches.get(wired) or self._branch(wired, fds)
            branch.send({**request, "wired": ""}, fds)
            pid = int(branch.receive(None)[0]["pid"])
            self._homes[pid] = branch
        else:
            pid = os.fork()
            if pid == 0:
                _child(request, fds, [c.fileno() for c in (self._channel, *self._branches.values())])
            self._homes.pop(pid, None)
        for received in fds:
            os.close(received)
        return pid

    def _branch(self, device: str, not_its: list[int]) -> Channel:
        ours, theirs = Channel.pair()
        if os.fork() == 0:
            with _process_boundary():
                linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
                for inherited in (ours, self._channel, *self._branches.values()):
                    inherited.close()
                for fd in not_its:
                    os.close(fd)
                tripwire.lay(device)
                gc.collect()
                gc.freeze()
                _Forks(Channel(theirs)).serve()
        theirs.close()
        self._branches[device] = ours
        return ours

    def _wait(self, request: dict[str, Any]) -> int | None:
        home = self._homes.get(request["pid"])
        if home is None:
            return _wait(request["pid"], request["seconds"])
        home.send(request)
        status: int | None = home.receive(None)[0]["status"]
        if status is not None:
            del self._homes[request["pid"]]
        return status


def _preload() -> None:
    for module in (*_ROLES.values(), *(f"kernelwright.evaluator.{name}" for name in ("tape", "pallas", "ttlang"))):
        importlib.import_module(module)
    for package in map(importlib.import_module, _LAZY):
        for found in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
            if found.name != __spec__.name:
                with contextlib.suppress(ImportError):  # a backend whose language is not installed
                    importlib.import_module(found.name)


def _wait(pid: int, seconds: float) -> int | None:
    """The wait status of a child, or None while it lives."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            done, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            return 0
        if done:
            return status
        if time.monotonic() > deadline:
            return None
        time.sleep(0.002)


def _child(request: dict[str, Any], fds: list[int], servers: list[int]) -> NoReturn:
    """Become the child for ``request``: the reference, or the keeper of one that is confined, a runner above all."""
    with _process_boundary():
        os.setsid()
        for server in servers:
            os.close(server)
        null = os.open(os.devnull, os.O_RDONLY)
        for fd, standard in ((null, 0), (fds[1], 1), (fds[1], 2)):
            os.dup2(fd, standard)
        os.close(null)
        os.close(fds[1])
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
            signal.signal(signum, signal.SIG_DFL)
        os.environ.clear()
        os.environ.update(request["environment"])
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if not request["confined"]:
            linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
            os.chdir(request["scratch"])
            _limit(request["limits"])
            _serve(request, fds[0], {})
        else:
            _confined(request, fds[0])
    raise AssertionError("the boundary ends the process")


def _confined(request: dict[str, Any], channel_fd: int) -> NoReturn:
    """Keep a runner, or a stranger's reference: namespaces here, the rest in it, which reports the layers before it knows
    any kernel or task.
    """
    sandbox = Sandbox(Plan.of(request["sandbox"]), request["scratch"])
    sandbox.enter()
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)  # new credentials, as of a user namespace, would have unset it
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)

    def run() -> NoReturn:
        with _process_boundary():
            os.setsid()
            linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
            with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:  # noqa: PTH123 - as below
                score.write("1000")
            os.chdir(sandbox.work)
            _limit(request["limits"])
            if namespaces.USER in sandbox.namespaces and os.getuid():  # counted in this namespace only; not for root
                _limit({"NPROC": _PROCESSES})
            _serve(request, channel_fd, {"sandbox": sandbox.confine()})
        raise AssertionError("the boundary ends the process")

    namespaces.keep(sandbox.namespaces, [channel_fd], sandbox.mount, run)


def _serve(request: dict[str, Any], channel_fd: int, hello: dict[str, Any]) -> None:
    module = importlib.import_module(_ROLES[request["role"]])
    longest = MAX_FRAME if request["role"] in ("reference", "yardstick") else MAX_UNTRUSTED
    channel = Channel(socket.socket(fileno=channel_fd), longest=longest)
    channel.send(hello)
    module.serve(channel, request["config"])


@contextlib.contextmanager
def _process_boundary() -> Iterator[None]:
    """End this process after the block, whatever came of it: nothing may unwind into the server's loop."""
    code = 70
    try:
        yield
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:  # noqa: BLE001 - process boundary
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _limit(limits: dict[str, int]) -> None:
    """Resource limits by their ``resource`` names; ``AS_EXTRA`` is address space beyond what is mapped now."""
    for name, value in limits.items():
        if name == "AS_EXTRA":
            mapped = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()  # noqa: PTH123, SIM115
            resource.setrlimit(resource.RLIMIT_AS, (mapped + value, mapped + value))
        else:
            which = getattr(resource, f"RLIMIT_{name}")
            _, hard = resource.getrlimit(which)
            ceiling = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(which, (ceiling, ceiling))


if __name__ == "__main__":
    main(int(sys.argv[1]))

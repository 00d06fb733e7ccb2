"""The fork-server: imports torch (and triton) once, opens no device, and forks one child a request.

A forked child starts in 10–16 ms where a fresh interpreter takes 1.5–6 s. The server itself never runs a torch
operation (a multi-threaded one before the fork would hang every child) and never touches CUDA.

Run as ``python -m kernelwright.evaluator.runner.server FD``, FD being one end of a socket pair.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import resource
import signal
import socket
import sys
import time
from typing import Any

from kernelwright.evaluator.runner.channel import Channel, ChannelClosed

_ROLES = {
    "candidate": "kernelwright.evaluator.runner.candidate",
    "reference": "kernelwright.evaluator.runner.reference",
}
_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38


def main(fd: int) -> None:
    """Serve until the judge closes its end; every child dies with the server."""
    import torch

    with contextlib.suppress(ImportError):
        import triton  # noqa: F401
    for module in _ROLES.values():
        importlib.import_module(module)
    channel = Channel(socket.socket(fileno=fd))
    channel.send({"ready": True, "torch": torch.__version__})
    while True:
        try:
            request, fds = channel.receive(None)
        except ChannelClosed:
            return
        if request["op"] == "spawn":
            pid = os.fork()
            if pid == 0:
                _child(request, fds, fd)
            for received in fds:
                os.close(received)
            channel.send({"pid": pid})
        elif request["op"] == "wait":
            channel.send({"status": _wait(request["pid"], request["seconds"])})


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


def _child(request: dict[str, Any], fds: list[int], server_fd: int) -> None:
    """Become the child for ``request``; never returns."""
    code = 70
    try:
        os.setsid()
        _die_with_parent()
        os.close(server_fd)
        channel_fd, log_fd = fds[0], fds[1]
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(log_fd, 1)
        os.dup2(log_fd, 2)
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
            signal.signal(signum, signal.SIG_DFL)
        os.environ.clear()
        os.environ.update(request["environment"])
        os.chdir(request["scratch"])
        _limit(request["limits"])
        module = importlib.import_module(_ROLES[request["role"]])
        module.serve(Channel(socket.socket(fileno=channel_fd)), request["config"])
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:  # noqa: BLE001 - process boundary: whatever escapes must not unwind into the server's loop
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _die_with_parent() -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


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

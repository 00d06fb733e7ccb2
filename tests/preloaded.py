"""Command lines in processes of their own that need not import anything: forked from one process that has it all loaded.

Most of the time of a short ``kernelwright`` command goes into imports (Chroma, SQLAlchemy, typer). A process that has them,
and does nothing else, is started once by whoever first needs one; each command line is a fork of it, in a session of its own,
with its own environment, folder, output and exit. What the start itself takes is looked at where real ones are started.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

MODULES = (
    "certifi",
    "chromadb",
    "chromadb_rust_bindings",
    "httpcore",
    "kernelwright.agent.bench",
    "kernelwright.agent.cli.app",
    "kernelwright.agent.cli.benching",
    "kernelwright.agent.cli.defaults",
    "kernelwright.agent.cli.memory",
    "kernelwright.agent.cli.optimize",
    "kernelwright.agent.cli.resume",
    "kernelwright.agent.cli.work",
    "kernelwright.agent.policies.greedy",
    "kernelwright.agent.run",
    "kernelwright.agent.writers.fake",
    "kernelwright.agent.writers.llm",
    "kernelwright.evaluator.backends.cpp",
    "kernelwright.evaluator.build",
    "kernelwright.evaluator.engines.fake",
    "kernelwright.evaluator.engines.ray",
    "kernelwright.tasks.load",
    "mmh3",
    "scripted",
    "tiny_suite",
)
_LOCK = threading.Lock()


class Preloaded:
    """One command line at work; to be used like a :class:`subprocess.Popen` whose output is text."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        out, self._out = os.pipe()
        err, self._err = os.pipe()
        status, theirs = os.pipe()
        request = {"arguments": list(arguments), "environment": dict(environment), "folder": str(Path.cwd())}
        fds = [self._out, self._err, theirs]
        with _LOCK:
            _server().send(request, fds)
        for fd in fds:
            os.close(fd)
        self.returncode: int | None = None
        self.stdout, self.stderr = (os.fdopen(fd, encoding="utf-8") for fd in (out, err))
        self._status = os.fdopen(status)
        self.pid = int(self._status.readline())

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it lives."""
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        """As :meth:`poll`, once it has ended."""
        code = self._ended(timeout)
        if code is None:
            raise subprocess.TimeoutExpired("kernelwright", timeout or 0)
        return code

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """All that it wrote to stdout and stderr, once it has ended."""
        end = None if timeout is None else time.monotonic() + timeout
        texts: dict[Any, bytes] = {self.stdout: b"", self.stderr: b""}
        with selectors.DefaultSelector() as reading:
            for file in texts:
                reading.register(file, selectors.EVENT_READ)
            while reading.get_map():
                ready = reading.select(None if end is None else max(0.0, end - time.monotonic()))
                if not ready:
                    raise subprocess.TimeoutExpired("kernelwright", timeout or 0)
                for key, _ in ready:
                    part = os.read(key.fd, 65536)
                    texts[key.fileobj] += part
                    if not part:
                        reading.unregister(key.fileobj)
        self.wait(timeout)
        for file in texts:
            file.close()
        out, err = (text.decode() for text in texts.values())
        return out, err

    def send_signal(self, number: int) -> None:
        """Send it a signal, where it lives."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)

    def __del__(self) -> None:
        for file in (self.stdout, self.stderr, self._status):
            file.close()

    def _ended(self, timeout: float | None) -> int | None:
        if self.returncode is None:
            with selectors.DefaultSelector() as reading:
                reading.register(self._status, selectors.EVENT_READ)
                if not reading.select(timeout):
                    return None
            line = self._status.readline()
            assert line, "the process that the command lines are forked from has died"
            self.returncode = int(line)
            self._status.close()
        return self.returncode


class _Server:
    """The process that the others are forked from, seen from its client."""

    def __init__(self) -> None:
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            fd = theirs.fileno()
            self.process = subprocess.Popen([sys.executable, __file__, str(fd)], pass_fds=[fd], stdin=subprocess.DEVNULL)
        atexit.register(self.close)

    def send(self, request: Mapping[str, Any], fds: Sequence[int]) -> None:
        """Ask for a process with these files."""
        socket.send_fds(self.socket, [json.dumps(request).encode()], list(fds))

    def close(self) -> None:
        """Let it end: it does when nobody can ask any more."""
        self.socket.close()
        self.process.wait()


_servers: dict[int, _Server] = {}


def _server() -> _Server:
    if os.getpid() not in _servers:
        _servers[os.getpid()] = _Server()
    return _servers[os.getpid()]


def _serve(requests: socket.socket) -> list[str]:
    """Fork a child a request, and say how each ended. Returns in a child only, with the command line that it is to run."""
    for name in MODULES:
        importlib.import_module(name)
    seeds, embed = (importlib.import_module(f"kernelwright.memory.{name}") for name in ("seeds", "embed"))
    embed.embed([seed.experience.text for seed in seeds.read(seeds.folder())])  # every new workspace does
    gc.collect()
    gc.freeze()  # a child's collections write to none of the pages that it shares
    died, wake = os.pipe()
    for fd in (died, wake):
        os.set_blocking(fd, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal: its client's business
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    told: dict[int, int] = {}
    with selectors.DefaultSelector() as waiting:
        waiting.register(requests, selectors.EVENT_READ)
        waiting.register(died, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in waiting.select()}
            if died in ready:
                os.read(died, 65536)
                _bury(told)
            if requests in ready:
                text, fds, _, _ = socket.recv_fds(requests, 1 << 20, 3)
                if not text:
                    sys.exit()
                out, err, status = fds
                if pid := os.fork():
                    told[pid] = status
                    os.write(status, f"{pid}\n".encode())
                    os.close(out)
                    os.close(err)
                    continue
                for fd in (requests.detach(), died, wake, status, *told.values()):
                    os.close(fd)
                return _become(json.loads(text), out, err)


def _bury(told: dict[int, int]) -> None:
    """Write down how those ended that have."""
    while told:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        fd = told.pop(pid)
        with suppress(BrokenPipeError):  # nobody asks
            os.write(fd, f"{os.waitstatus_to_exitcode(status)}\n".encode())
        os.close(fd)


def _become(request: dict[str, Any], out: int, err: int) -> list[str]:
    """Be what a started process would be: its session, signals, environment, folder and output."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.setsid()
    for fd, at in ((out, 1), (err, 2)):
        os.dup2(fd, at)
        os.close(fd)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.path[1:1] = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path not in sys.path]
    return list(request["arguments"])


if __name__ == "__main__":
    sys.argv[1:] = _serve(socket.socket(fileno=int(sys.argv[1])))
    runpy.run_module("kernelwright", run_name="__main__", alter_sys=True)

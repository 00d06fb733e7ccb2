"""A real model server as a child process: ``scripts/llm_server``, and what the server itself says about its work."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

SCRIPT = Path(__file__).parent.parent / "scripts" / "llm_server"
MODEL = "openai/smollm2"
# Taken now: the tests' environment holds no setting of ours.
_ENVIRONMENT = {name: os.environ[name] for name in ("KERNELWRIGHT_LLM_VENV",) if name in os.environ}
_SAMPLE = re.compile(r"^llamacpp:(\w+) ([\d.e+-]+)$", re.MULTILINE)


def install(kind: str) -> None:
    """Build and install what is missing; minutes the first time."""
    subprocess.run([SCRIPT, *_KINDS[kind], "--install"], env={**os.environ, **_ENVIRONMENT}, check=True, timeout=3600)


@dataclass
class RealServer:
    """``kind`` is ``llama`` (llama.cpp's server: slots, usage in streams) or ``python`` (one request at a time, no usage)."""

    kind: str
    folder: Path
    key: str = ""
    options: tuple[str, ...] = ()
    """Further ones of the server."""
    port: int = field(default_factory=lambda: _free_port())
    process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> None:
        """Serve; returns when the server answers."""
        key, counters = {"llama": ("--api-key", ["--metrics"]), "python": ("--api_key", [])}[self.kind]
        options = ["--", *counters, *([key, self.key] if self.key else []), *self.options]
        with (self.folder / "server.log").open("a") as log:
            self.process = subprocess.Popen(
                [SCRIPT, *_KINDS[self.kind], "--port", str(self.port), *options],
                env={**os.environ, **_ENVIRONMENT},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        out: IO[str] | None = self.process.stdout
        assert out is not None
        assert out.readline().startswith("url"), (self.folder / "server.log").read_text()[-2000:]

    def kill(self) -> None:
        """End it as a power cut would."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.communicate(timeout=30)
            self.process = None

    def counter(self, name: str) -> int:
        """One of llama.cpp's own counters, such as ``tokens_predicted_total``."""
        return round({found[1]: float(found[2]) for found in _SAMPLE.finditer(self._get("/metrics"))}[name])

    def tokens_of(self, text: str) -> int:
        """How many tokens of its model a text is; ``python`` only."""
        counted: int = json.loads(self._get("/extras/tokenize/count", {"input": text}))["count"]
        return counted

    def _get(self, path: str, body: object = None) -> str:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, headers)
        with urllib.request.urlopen(request, timeout=30) as response:
            text: str = response.read().decode()
            return text


@contextmanager
def serving(server: RealServer) -> Iterator[RealServer]:
    """The server, up; ended at the end."""
    try:
        server.start()
        yield server
    finally:
        server.kill()


class Gauge:
    """The most requests that were in flight at a time while it watched, by the server's own count."""

    def __init__(self, server: RealServer) -> None:
        self._server = server
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.most = 0

    def __enter__(self) -> Gauge:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.1):
            self.most = max(self.most, self._server.counter("requests_processing"))


def until(condition: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 120) -> None:
    """Wait for ``condition`` while the process lives."""
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "the condition never came"
        time.sleep(0.25)


_KINDS: dict[str, tuple[str, ...]] = {"llama": (), "python": ("--python",)}


def _free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        return port

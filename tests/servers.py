"""PostgreSQL and a Chroma server of one's own, by the commands of docs/memory.md; for tests and for scripts/bench_shared."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def why_no_postgres() -> str:
    """What is missing for PostgreSQL, or nothing."""
    return "" if shutil.which("initdb") and shutil.which("postgres") else "PostgreSQL's initdb and postgres are not on the PATH"


class Postgres:
    """A database of our own in a folder; it can be stopped and started again.

    PostgreSQL does not run as root: there it runs as ``nobody``, and ``folder`` must lie where that user can go.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, free_port()
        self.url = f"postgresql+psycopg://kernelwright@127.0.0.1:{self._port}/postgres"
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            owner = pwd.getpwnam("nobody").pw_uid
            os.chown(folder, owner, owner)
            self._as = {"user": owner, "group": owner, "extra_groups": []}
        made = ["initdb", "-D", str(folder / "data"), "-U", "kernelwright", "--auth=trust", "--no-sync"]
        subprocess.run(made, check=True, capture_output=True, cwd="/", **self._as)
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The server's first process; the others are its children."""
        assert self._server is not None
        return self._server.pid

    def start(self) -> None:
        """Begin to serve, and wait until it does."""
        run = ["postgres", "-D", str(self._folder / "data"), "-p", str(self._port), "-c", "listen_addresses=127.0.0.1"]
        with (self._folder / "log").open("ab") as log:
            self._server = subprocess.Popen([*run, "-k", str(self._folder)], stdout=log, stderr=log, cwd="/", **self._as)
        _wait_for(self._port, self._server)
        engine = sa.create_engine(self.url)
        for _ in range(100):
            try:
                with engine.connect():
                    break
            except sa.exc.OperationalError:
                time.sleep(0.1)
        engine.dispose()

    def stop(self) -> None:
        """End at once, whoever is connected."""
        if self._server is not None:
            self._server.send_signal(signal.SIGINT)  # SIGTERM would wait for every client
            self._server.wait(30)
            self._server = None


@contextmanager
def postgres(folder: Path) -> Iterator[Postgres]:
    """A running database of our own."""
    server = Postgres(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()


class Chroma:
    """A Chroma server of our own over a folder; it can be killed and started again, at the same place."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._server is not None
        return self._server.pid

    def start(self) -> None:
        """Begin to serve, and wait until it does."""
        run = [str(_command("chroma")), "run", "--path", str(self._folder), "--host", "127.0.0.1", "--port", str(self._port)]
        with (self._folder / "log").open("ab") as log:
            self._server = subprocess.Popen(run, stdout=log, stderr=log)
        _wait_for(self._port, self._server)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End by a signal, whoever is connected."""
        if self._server is not None:
            self._server.send_signal(how)
            self._server.wait(30)
            self._server = None


@contextmanager
def chroma(folder: Path) -> Iterator[Chroma]:
    """A running Chroma server of our own."""
    server = Chroma(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _command(name: str) -> str:
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else shutil.which(name) or name


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.poll() is None, "the server ended"
        time.sleep(0.1)
    raise AssertionError(f"nobody listens at {port}")

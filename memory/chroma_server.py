"""The shared index: a Chroma server by its URL, which any number of processes write.

Not protected against: who reaches the server reads and changes every vector in it. Values, code and lessons are in the
store; what the server loses or garbles, ``kernelwright memory rebuild`` makes again.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from kernelwright.tasks.errors import HarnessError, InputError, WorkspaceError

PORT = 8000
PATIENCE = 120.0
"""Seconds that a run at work waits for a server that has gone away, such as one that is started again."""

ANSWER = 60.0
"""Seconds without a byte of an answer after which a server that holds the connection is taken for gone; Chroma's client has no
such limit."""


class Unreachable(WorkspaceError):
    """The server does not answer, or not as it should; later it may."""


class Server:
    """A Chroma server at ``http://host:port``. Collections are named by the store, so that several may share one server.

    Raises:
        InputError: the URL is none.
    """

    writes = True
    there = True
    doubtful = True
    """Others write as well, and one of them may have been killed: what it holds is compared id by id."""

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            self._host, self._port, self._ssl = parts.hostname, parts.port, parts.scheme == "https"
        except ValueError:
            self._host = None
        if self._host is None or parts.scheme not in ("http", "https") or parts.path.strip("/") or parts.username:
            raise InputError(f"{url.split('@')[-1]!r} is no URL of a Chroma server", "give one such as http://localhost:8000")
        self.url = url

    def __str__(self) -> str:
        return self.url

    def claim(self) -> bool:
        """Everybody may write; nothing is ever missing."""
        return False

    def refuse(self) -> WorkspaceError:
        """Nobody is refused."""
        raise HarnessError(f"the Chroma server {self.url} is for several writers")

    def connect(self) -> Any:
        """A client of the server.

        Raises:
            Unreachable: it does not answer.
        """
        import chromadb
        import httpx
        from chromadb.config import Settings

        port = self._port or (443 if self._ssl else PORT)
        host = f"[{self._host}]" if ":" in str(self._host) else self._host
        try:
            httpx.get(f"http{'s' if self._ssl else ''}://{host}:{port}/api/v2/heartbeat", timeout=ANSWER)
            client = chromadb.HttpClient(self._host or "", port, self._ssl, settings=Settings(anonymized_telemetry=False))
            client._server._session.timeout = ANSWER  # type: ignore[attr-defined]  # no public way to it
            return client
        except Exception as error:  # noqa: BLE001 - Chroma raises a plain ValueError, httpx's errors, or its own
            raise unreachable(self.url, error) from error

    def wipe(self) -> None:
        """Nothing: the index deletes its own collections, others' stay."""

    def release(self, level: bool) -> None:
        """Nothing is held."""


def away(error: BaseException) -> bool:
    """Whether ``error`` says that nobody answered, so that it is worth asking again later.

    A plain Exception is how Chroma's client raises an answer that is not Chroma's: that of a proxy whose server is down.
    """
    foreign = type(error) is Exception or type(error).__module__.partition(".")[0] in ("httpx", "httpcore")
    return foreign or isinstance(error, Unreachable)


def unreachable(url: str, error: BaseException) -> WorkspaceError:
    """The error for a server that does not answer, or not as it should."""
    if isinstance(error, Unreachable):
        return error
    said = (str(error).splitlines() or [type(error).__name__])[0][:160]
    return Unreachable(
        f"the Chroma server {url} failed: {said}",
        "start it (docs/memory.md), or unset KERNELWRIGHT_INDEX for an index in --home",
    )

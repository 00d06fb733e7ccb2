"""The shared index: a Chroma server by its URL, which any number of processes write.

Not protected against: who reaches the server reads and changes every vector in it. Values, code and lessons are in the
store; what the server loses or garbles, ``kernelwright memory rebuild`` makes again.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from kernelwright.tasks.errors import HarnessError, InputError, WorkspaceError

PORT = 8000


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
            WorkspaceError: it does not answer.
        """
        import chromadb
        from chromadb.config import Settings

        port = self._port or (443 if self._ssl else PORT)
        try:
            return chromadb.HttpClient(self._host or "", port, self._ssl, settings=Settings(anonymized_telemetry=False))
        except Exception as error:  # noqa: BLE001 - Chroma raises a plain ValueError, httpx's errors, or its own
            raise unreachable(self.url, error) from error

    def wipe(self) -> None:
        """Nothing: the index deletes its own collections, others' stay."""

    def release(self, level: bool) -> None:
        """Nothing is held."""


def unreachable(url: str, error: BaseException) -> WorkspaceError:
    """The error for a server that does not answer, or not as it should."""
    said = (str(error).splitlines() or [type(error).__name__])[0][:160]
    return WorkspaceError(
        f"the Chroma server {url} failed: {said}", "start it (docs/memory.md), or leave --index out for an index in --home"
    )

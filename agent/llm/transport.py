"""How a request reaches a model: the one seam between our client and the providers' own libraries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Usage:
    """Tokens of one answer, as its provider reports them."""

    tokens_in: int
    tokens_out: int
    """Thoughts included."""
    tokens_cached: int = 0
    """Of ``tokens_in``."""
    tokens_reasoning: int = 0
    """Of ``tokens_out``."""
    cost_usd: float | None = None
    """What the provider itself says that the answer costs; few do."""


@dataclass(frozen=True)
class Piece:
    """The next piece of an answer; any part of it may be empty."""

    text: str = ""
    thoughts: str = ""
    """Reasoning that is shown beside the answer, and is no part of it."""
    refusal: str = ""
    finish: str = ""
    """Why the answer ends: ``stop``, ``length``, ``content_filter``…"""
    usage: Usage | None = None
    """Of the whole answer so far; the last one counts."""

    def __bool__(self) -> bool:
        return bool(self.text or self.thoughts or self.refusal or self.finish or self.usage)


class Stream(Protocol):
    """An answer on its way. Iterating may raise :class:`~kernelwright.agent.llm.failures.Failure`."""

    whole: bool
    """After the last piece: whether the answer had its end, or the connection just stopped."""

    def __iter__(self) -> Iterator[Piece]: ...

    def stop(self) -> None:
        """Hang up, so that the provider stops writing. From any thread, at any time, more than once; raises nothing.

        A library that hides its connection is only told to close it: it may read on until its own timeout.
        """
        ...


class Transport(Protocol):
    """A provider's interface to one model. Used from several threads at once; retries nothing, keeps no key in sight."""

    endpoint: str
    """What a rate limit is for: the provider, or the address of a server."""
    name: str
    """The model's name as it is sent."""
    key: str
    """The environment variable that holds the key, for messages; ``""`` where there is none."""

    def taken(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the wanted parameters that the model is not known to refuse, by the names that it knows them by."""
        ...

    def open(self, body: Mapping[str, Any], silence: float) -> Stream:
        """Send ``body`` and wait for the answer to begin. ``silence``: seconds after which the connection counts as dead.

        Raises:
            Failure: there will be no answer.
        """
        ...

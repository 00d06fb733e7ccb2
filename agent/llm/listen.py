"""Hearing one answer out: piece by piece, with an ear for silence, and with a hand on the receiver.

The provider's library reads in a thread of its own; the caller waits beside it and so can give up at any time, whatever the
library does: some take keep-alive lines of a server that has stopped writing for life.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kernelwright.agent.llm.failures import Failure, Kind, failure_of
from kernelwright.agent.llm.transport import Piece, Stream, Transport, Usage

TICK = 0.5
"""Seconds between two reports of how much was heard."""


@dataclass(frozen=True)
class Patience:
    """How long to wait. Seconds."""

    first: float
    """Without a sign of the answer."""
    stall: float
    """Without anything new, once it has begun."""
    whole: float
    """For the whole answer."""


@dataclass
class Heard:
    """What has come of an answer so far."""

    text: str = ""
    thoughts: str = ""
    refusal: str = ""
    finish: str = ""
    usage: Usage | None = None
    pieces: int = 0
    """With text or thoughts: a lower bound of its tokens with most servers."""
    begun: bool = False
    """The provider has taken the request: there may be something to pay."""

    def add(self, piece: Piece) -> None:
        self.text += piece.text
        self.thoughts += piece.thoughts
        self.refusal += piece.refusal
        self.finish = piece.finish or self.finish
        self.usage = piece.usage or self.usage
        self.pieces += bool(piece.text or piece.thoughts)

    @property
    def tokens(self) -> int:
        """Of the answer so far, about."""
        if self.usage is not None:
            return self.usage.tokens_out
        return max(self.pieces, (len(self.text) + len(self.thoughts)) // 4)


class _Opened:
    """The provider has taken the request."""


@dataclass(frozen=True)
class _End:
    """The connection has ended."""

    whole: bool


_Event = Piece | Failure | _Opened | _End


def listen(
    transport: Transport, body: Mapping[str, Any], patience: Patience, heard: Heard, progress: Callable[[int], None]
) -> None:
    """Send ``body`` and gather the answer in ``heard``, which is right at any time, also when this raises.

    ``progress`` is called in this thread, at every piece and twice a second while none comes; what it raises ends the call.

    Raises:
        Failure: no answer, not the whole answer, or nothing new of it for too long.
    """
    line = _Line(transport, body, patience)
    began = news = time.monotonic()
    try:
        while True:
            now = time.monotonic()
            silence = patience.stall if heard.pieces or heard.finish else patience.first
            left = min(news + silence, began + patience.whole) - now
            if left <= 0:
                raise Failure(Kind.TIMEOUT, _late(heard, now - news, now - began >= patience.whole))
            event = line.next(min(left, TICK))
            if isinstance(event, Piece) and event:
                news = time.monotonic()
            if _ended(event, heard):
                return
            progress(heard.tokens)
    except Failure:
        if not heard.finish:
            raise  # else nothing but a usage or the end of the connection was still to come
    finally:
        line.hang_up()


def _ended(event: _Event | None, heard: Heard) -> bool:
    """Take in what came; whether it was the end.

    Raises:
        Failure: it is one, or the end came too early.
    """
    if isinstance(event, Failure):
        raise event
    if isinstance(event, Piece):
        heard.add(event)
    elif isinstance(event, _Opened):
        heard.begun = True
    elif isinstance(event, _End) and not event.whole:
        raise Failure(Kind.CUT, f"the answer broke off after about {heard.tokens} tokens")
    return isinstance(event, _End)


class _Line:
    """The connection, and the thread that reads it."""

    def __init__(self, transport: Transport, body: Mapping[str, Any], patience: Patience) -> None:
        self._events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
        self._stream: Stream | None = None
        self._hung_up = False
        # The library's own timeout is only there for a reader that cannot be told to stop.
        silence = max(patience.first, patience.stall) + 1
        threading.Thread(target=self._read, args=(transport, body, silence), name="llm answer", daemon=True).start()

    def next(self, seconds: float) -> _Event | None:
        """What comes next; None when nothing comes for so long."""
        try:
            return self._events.get(timeout=seconds)
        except queue.Empty:
            return None

    def hang_up(self) -> None:
        """Nobody listens any more."""
        self._hung_up = True
        if self._stream is not None:
            self._stream.stop()

    def _read(self, transport: Transport, body: Mapping[str, Any], silence: float) -> None:
        try:
            self._stream = stream = transport.open(body, silence)
            self._events.put(_Opened())
            for piece in stream:
                self._events.put(piece)
                if self._hung_up:
                    stream.stop()
                    return
            self._events.put(_End(stream.whole))
        except Exception as error:  # noqa: BLE001  a process boundary: told to who waits
            self._events.put(failure_of(error))


def _late(heard: Heard, silence: float, over: bool) -> str:
    if over:
        return f"no whole answer in the time that a call may take; about {heard.tokens} tokens came"
    return f"nothing new for {silence:.3g} s after about {heard.tokens} tokens"

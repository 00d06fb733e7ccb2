"""OpenAI and every server that speaks its chat completions (vLLM, llama.cpp, Ollama…), by OpenAI's own client.

The stream is read from the raw lines and not from the client's objects: these take a page of HTML, a plain JSON answer and
a connection that broke for an empty stream.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

from kernelwright.agent.llm.failures import Failure, Kind, failure_in, failure_of
from kernelwright.agent.llm.pieces import piece_of
from kernelwright.agent.llm.transport import Piece
from kernelwright.tasks.errors import WriterError

KEY = "OPENAI_API_KEY"
CONNECT = 20.0
"""Seconds to reach a server at all."""


class ViaOpenAI:
    """One model behind a chat completions address.

    Raises:
        WriterError: no key for OpenAI itself.
    """

    def __init__(self, name: str, api_base: str | None) -> None:
        import openai

        logging.getLogger("httpx").setLevel(logging.WARNING)  # it would log addresses
        key = os.environ.get(KEY, "").strip()
        if not key and api_base is None:
            raise WriterError(f"no key for model openai/{name}", f"set {KEY} in the environment")
        self.name = name
        self.key = KEY
        self.endpoint = api_base or "openai"
        self._own = api_base is not None
        # A server of one's own needs no key, but the client insists on some text.
        self._client = openai.OpenAI(api_key=key or "none", base_url=api_base, max_retries=0)

    def taken(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """All of them: what a server refuses is learned from its answer."""
        names = {} if self._own else {"max_tokens": "max_completion_tokens"}
        return {"stream": True, "stream_options": {"include_usage": True}} | {names.get(k, k): v for k, v in wanted.items()}

    def open(self, body: Mapping[str, Any], silence: float) -> RawStream:
        from openai import Timeout

        resources = ExitStack()
        try:
            create = self._client.chat.completions.with_streaming_response.create
            response = resources.enter_context(create(**body, timeout=Timeout(silence, connect=min(silence, CONNECT))))
        except Exception as error:  # noqa: BLE001  a process boundary: classes of two libraries
            resources.close()
            raise failure_of(error) from None
        kind = str(response.headers.get("content-type", "")).lower()
        if "event-stream" in kind or "json" in kind:
            return RawStream(response, resources)
        with resources:
            raise _foreign(response, kind)


class RawStream:
    """An answer as server-sent events, or as one JSON document where the server does not stream."""

    def __init__(self, response: Any, resources: ExitStack) -> None:
        self.whole = False
        self._response = response
        self._resources = resources

    def __iter__(self) -> Iterator[Piece]:
        try:
            if "event-stream" in str(self._response.headers.get("content-type", "")).lower():
                yield from self._events()
            else:
                yield self._document()
        except Exception as error:  # noqa: BLE001  a process boundary: classes of two libraries
            raise failure_of(error) from None
        finally:
            with contextlib.suppress(Exception):  # it may be closed already, in whatever way
                self._resources.close()

    def stop(self) -> None:
        """Hang up: a read that another thread waits in returns at once."""
        with contextlib.suppress(Exception):  # whatever state the connection is in, it is not needed any more
            network = self._response.http_response.extensions["network_stream"]
            network.get_extra_info("socket").shutdown(socket.SHUT_RDWR)

    def _events(self) -> Iterator[Piece]:
        data: list[str] = []
        for line in self._response.iter_lines():
            if line.startswith("data:"):
                data.append(line[5:].removeprefix(" "))
            elif not line.strip() and data:
                event, data = "\n".join(data), []
                if event.strip() == "[DONE]":
                    self.whole = True
                    return
                yield self._piece(event)
        if data and "\n".join(data).strip() == "[DONE]":
            self.whole = True

    def _piece(self, event: str) -> Piece:
        try:
            chunk = json.loads(event)
        except ValueError:
            raise Failure(Kind.GARBAGE, f"the stream holds something else than JSON: {event[:80]!r}") from None
        if not isinstance(chunk, dict):
            raise Failure(Kind.GARBAGE, f"the stream holds something else than an answer: {event[:80]!r}")
        if chunk.get("error"):
            raise failure_in(chunk)
        piece = piece_of(chunk)
        self.whole = self.whole or bool(piece.finish)
        return piece

    def _document(self) -> Piece:
        text = self._response.read().decode("utf-8", errors="replace")
        try:
            body = json.loads(text)
        except ValueError:
            raise Failure(Kind.GARBAGE, f"the answer is called JSON and is not: {text[:80]!r}") from None
        if isinstance(body, dict) and body.get("error"):
            raise failure_in(body)
        if not isinstance(body, dict) or not isinstance(body.get("choices"), list):
            raise Failure(Kind.GARBAGE, f"the answer is JSON, but no chat completion: {text[:80]!r}")
        self.whole = True
        return piece_of(body)


def _foreign(response: Any, kind: str) -> Failure:
    """Something else answers in the server's place; nothing is to be paid for that."""
    try:
        page = response.read().decode("utf-8", errors="replace")
    except Exception as error:  # noqa: BLE001  a process boundary: classes of two libraries
        return failure_of(error)
    failure = Failure(Kind.GARBAGE, f"the answer is {kind or 'of no content type'}, not JSON or a stream: {page[:80]!r}")
    failure.unbilled = True
    return failure

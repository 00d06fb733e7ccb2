"""A scripted server that speaks the real HTTP of chat completions, faults included, on a port of this machine.

::

    with LlmServer() as server:
        server.script = [Fault(429, headers={"Retry-After": "0.1"}), Say("hello", usage=(1000, 2000))]
        …  # ask server.url
        assert server.seen[1].body["messages"] …

Each request takes the next line of the script, the last one is repeated; a line may also be a function of the request.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Say:
    """An answer, as a stream if the request asks for one."""

    text: str | None | list[Any] = "hello"
    usage: tuple[int, ...] | None = (1000, 2000)
    """Tokens in, out, cached, of thoughts; None: not reported."""
    finish: str | None = "stop"
    thoughts: str = ""
    refusal: str = ""
    streams: bool = True
    """False: answers a request for a stream with plain JSON."""
    wait: float = 0.0
    """Seconds before the first byte, headers included."""
    gap: float = 0.0
    """Seconds between two pieces."""
    piece: int = 8
    """Characters."""
    stall: int | None = None
    """After so many pieces nothing comes but, if ``pings``, comment lines."""
    pings: bool = False
    cut: int | None = None
    """After so many pieces the stream ends: by its regular end of HTTP, without finish and [DONE], if ``clean``."""
    clean: bool = False
    done: bool = True
    """Ends by [DONE]."""
    extra: Sequence[str] = ()
    """Lines of the stream, as they are, after the first piece."""


@dataclass(frozen=True)
class Fault:
    """A refusal with a status."""

    status: int
    message: str = "try later"
    code: str | None = None
    parameter: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Raw:
    """Anything."""

    body: str
    kind: str = "text/html"
    status: int = 200


@dataclass(frozen=True)
class Hangup:
    """The connection is closed before any answer."""


Line = Say | Fault | Raw | Hangup


@dataclass(frozen=True)
class Seen:
    """A request as it came."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]
    at: float

    @property
    def prompt(self) -> str:
        return str(self.body["messages"][-1]["content"])


class LlmServer:
    """Plays its script; ``flying`` and ``most_flying`` count requests side by side, ``hung_up`` answers nobody waited for."""

    def __init__(self, *script: Line | Callable[[Seen], Line], port: int = 0) -> None:
        self.script: list[Line | Callable[[Seen], Line]] = list(script)
        self.seen: list[Seen] = []
        self.flying = self.most_flying = self.hung_up = 0
        self.closing = threading.Event()
        self._lock = threading.Lock()
        self._web = _Web(("127.0.0.1", port), _handler(self))
        self._thread = threading.Thread(target=self._web.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        """``--api-base``."""
        return f"http://127.0.0.1:{self._web.server_port}/v1"

    def __enter__(self) -> LlmServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._web.shutdown()
        self._web.server_close()
        self._thread.join()

    def take(self, seen: Seen) -> Line:
        """The line that answers ``seen``."""
        with self._lock:
            self.seen.append(seen)
            line = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        return line(seen) if callable(line) else line

    def count(self, change: int) -> None:
        with self._lock:
            self.flying += change
            self.most_flying = max(self.most_flying, self.flying)

    def rest(self, seconds: float) -> None:
        """Wait, but not beyond the server's end."""
        if seconds > 0:
            self.closing.wait(seconds)


class _Web(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that hung up is what some tests are about."""


def usage_json(usage: tuple[int, ...]) -> dict[str, Any]:
    """A usage as OpenAI writes it."""
    tokens_in, tokens_out, cached, thoughts = (*usage, 0, 0)[:4]
    return {
        "prompt_tokens": tokens_in,
        "completion_tokens": tokens_out,
        "total_tokens": tokens_in + tokens_out,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": thoughts},
    }


def _handler(server: LlmServer) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        llm = server

    return Handler


class _Handler(BaseHTTPRequestHandler):
    llm: LlmServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each small answer waits 40 ms

    def do_POST(self) -> None:  # noqa: N802  the base class's name
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        line = self.llm.take(Seen(self.path, headers, body, time.monotonic()))
        self.llm.count(1)
        try:
            self._play(line, body)
        except OSError:
            self.llm.hung_up += 1
            self.close_connection = True
        finally:
            self.llm.count(-1)

    def do_GET(self) -> None:  # noqa: N802  the base class's name
        self._send(200, json.dumps({"object": "list", "data": []}), "application/json", {})

    def log_message(self, *args: object) -> None:
        return None

    def _play(self, line: Line, body: Mapping[str, Any]) -> None:
        if isinstance(line, Fault):
            error = {"message": line.message, "type": "x", "code": line.code, "param": line.parameter}
            self._send(line.status, json.dumps({"error": error}), "application/json", line.headers)
        elif isinstance(line, Raw):
            self._send(line.status, line.body, line.kind, {})
        elif isinstance(line, Hangup):
            self.close_connection = True
        elif body.get("stream") and line.streams:
            self._stream(line, body)
        else:
            self.llm.rest(line.wait)
            self._send(200, json.dumps(_completion(line, body)), "application/json", {})

    def _send(self, status: int, text: str, kind: str, headers: Mapping[str, str]) -> None:
        data = text.encode()
        self.send_response(status)
        for name, value in {"content-type": kind, "content-length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.send_header("connection", "close")  # libraries keep connections in pools that nobody closes
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, line: Say, body: Mapping[str, Any]) -> None:
        self.llm.rest(line.wait)
        self.send_response(200)
        self.send_header("content-type", "text/event-stream; charset=utf-8")
        self.send_header("transfer-encoding", "chunked")
        self.send_header("connection", "close")
        self.end_headers()
        for number, delta in enumerate(_deltas(line)):
            if line.cut is not None and number >= line.cut:
                self.close_connection = True
                if line.clean:
                    self.wfile.write(b"0\r\n\r\n")
                return
            if line.stall is not None and number >= line.stall:
                self._stall(line.pings)
                self.close_connection = True
                return
            self._event(json.dumps(_chunk(body, [{"index": 0, "delta": delta, "finish_reason": None}])))
            for extra in line.extra if number == 0 else ():
                self._line(extra)
            self.llm.rest(line.gap)
        if line.finish:
            self._event(json.dumps(_chunk(body, [{"index": 0, "delta": {}, "finish_reason": line.finish}])))
        if line.usage and body.get("stream_options", {}).get("include_usage"):
            self._event(json.dumps(_chunk(body, [], usage_json(line.usage))))
        if line.done:
            self._event("[DONE]")
        self.wfile.write(b"0\r\n\r\n")

    def _stall(self, pings: bool) -> None:
        until = time.monotonic() + 30
        while not self.llm.closing.wait(0.05) and time.monotonic() < until:
            if pings:
                self._line(": still here")
                self.wfile.flush()

    def _event(self, data: str) -> None:
        self._line(f"data: {data}\n")

    def _line(self, line: str) -> None:
        data = f"{line}\n".encode()
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()


def _deltas(line: Say) -> list[dict[str, Any]]:
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    pieces = [line.thoughts[i : i + line.piece] for i in range(0, len(line.thoughts), line.piece)]
    deltas += [{"reasoning_content": piece} for piece in pieces]
    if isinstance(line.text, list):
        deltas.append({"content": line.text})
    else:
        text = line.text or ""
        deltas += [{"content": text[i : i + line.piece]} for i in range(0, len(text), line.piece)]
    if line.refusal:
        deltas.append({"refusal": line.refusal})
    return deltas


def _chunk(body: Mapping[str, Any], choices: list[Any], usage: dict[str, Any] | None = None) -> dict[str, Any]:
    frame = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": body.get("model"), "choices": choices}
    return frame if usage is None else {**frame, "usage": usage}


def _completion(line: Say, body: Mapping[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": line.text}
    if line.thoughts:
        message["reasoning_content"] = line.thoughts
    if line.refusal:
        message["refusal"] = line.refusal
    whole = {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": body.get("model"),
        "choices": [{"index": 0, "message": message, "finish_reason": line.finish}],
    }
    return whole if line.usage is None else {**whole, "usage": usage_json(line.usage)}

"""A private pipe that carries JSON frames and file descriptors. Nothing on it is ever unpickled or evaluated."""

from __future__ import annotations

import array
import contextlib
import json
import os
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

MAX_FRAME = 32 << 20
"""Bytes; a longer frame is a broken or hostile peer."""
MAX_UNTRUSTED = 8 << 20
"""The same for a candidate's process: what parsing such a frame can take stays below a gigabyte."""

_HEADER = struct.Struct(">I")
_MAX_FDS = 8
_SEND_SECONDS = 60.0


class ChannelClosed(Exception):
    """The other side is gone."""


class ChannelBroken(ChannelClosed):
    """The other side sent what is no frame."""


class FrameTooLong(ValueError):
    """A message that this side may not send."""


class ChannelTimeout(Exception):
    """Nothing complete arrived in time; what did arrive is kept, so the wait can go on."""


class Channel:
    """Length-delimited JSON objects over a Unix stream socket, with descriptors as ancillary data.

    ``untrusted``: the peer is a candidate's process. Frames are then strict JSON (no ``NaN`` or ``Infinity``, no key
    twice), shorter, and descriptors that it sends are dropped by the kernel: they would fill the judge's table.
    """

    def __init__(self, sock: socket.socket, untrusted: bool = False, longest: int = MAX_FRAME) -> None:
        self._sock = sock
        self._untrusted = untrusted
        self._longest = longest
        self._data = bytearray()
        self._fds: list[int] = []

    @classmethod
    def pair(cls, untrusted: bool = False) -> tuple[Channel, socket.socket]:
        """A channel for this side and the raw socket to hand to the other."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        return cls(ours, untrusted), theirs

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._drop_descriptors()
        self._sock.close()

    def send(self, message: Mapping[str, Any], fds: Sequence[int] = (), timeout: float = _SEND_SECONDS) -> None:
        """Send one frame.

        Raises:
            FrameTooLong: it has more than ``longest`` bytes; nothing was sent.
            ChannelClosed: the other side is gone.
            ChannelTimeout: it does not read; part of the frame may be sent, so close the channel.
        """
        payload = json.dumps(message).encode()
        if len(payload) > self._longest:
            raise FrameTooLong(f"an answer of {len(payload)} bytes; at most {self._longest} can be sent")
        try:
            self._sock.settimeout(timeout)
            header = _HEADER.pack(len(payload))
            if fds:
                socket.send_fds(self._sock, [header], list(fds))
            else:
                self._sock.sendall(header)
            self._sock.sendall(payload)
        except TimeoutError as error:
            raise ChannelTimeout("the other side does not read") from error
        except OSError as error:
            raise ChannelClosed(str(error)) from error

    def receive(self, timeout: float | None, spin: float = 0.0) -> tuple[dict[str, Any], list[int]]:
        """The next frame and the descriptors that came with it; ``timeout`` in seconds, None waits for ever.

        ``spin``: seconds to poll before sleeping. A process that sleeps wakes 20–150 µs late, which would be timed.

        Raises:
            ChannelTimeout: no whole frame within ``timeout``.
            ChannelBroken: bytes that are not a frame.
            ChannelClosed: end of stream.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        if spin:
            self._poll(min(spin, timeout or spin))
        self._fill(_HEADER.size, deadline)
        (length,) = _HEADER.unpack_from(self._data)
        longest = MAX_UNTRUSTED if self._untrusted else MAX_FRAME
        if length > longest:
            self._broken(f"a frame of {length} bytes; at most {longest} are accepted")
        self._fill(_HEADER.size + length, deadline)
        payload = bytes(self._data[_HEADER.size : _HEADER.size + length])
        del self._data[: _HEADER.size + length]
        try:
            message = self._parse(payload)
        except (ValueError, RecursionError):
            self._broken("bytes that are not JSON")
        if not isinstance(message, dict):
            self._broken("a frame that is not an object")
        fds, self._fds = self._fds, []
        return message, fds

    @property
    def unread(self) -> bool:
        """Whether something arrived that no :meth:`receive` took: an answer that nobody asked for."""
        if self._data:
            return True
        with contextlib.suppress(OSError):
            self._sock.settimeout(0)
            return bool(self._sock.recv(1, socket.MSG_PEEK))
        return False

    def _parse(self, payload: bytes) -> Any:
        text = payload.decode("utf-8")
        if self._untrusted:
            return json.loads(text, parse_constant=_no_constant, object_pairs_hook=_unique)
        return json.loads(text)

    def _poll(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                self._sock.settimeout(0)
                self._sock.recv(1, socket.MSG_PEEK)
                return
            except BlockingIOError:
                continue
            except OSError:
                return

    def _fill(self, size: int, deadline: float | None) -> None:
        """Read until ``size`` bytes are kept, never beyond them: descriptors belong to the frame they came with."""
        while len(self._data) < size:
            self._sock.settimeout(None if deadline is None else max(deadline - time.monotonic(), 1e-4))
            wanted = min(size - len(self._data), 1 << 20)
            try:
                if self._untrusted:
                    chunk = self._sock.recv(wanted)
                else:
                    chunk, ancillary, _, _ = self._sock.recvmsg(wanted, socket.CMSG_SPACE(_MAX_FDS * 4))
                    self._fds += _descriptors(ancillary)
            except TimeoutError as error:
                raise ChannelTimeout("no answer in time") from error
            except OSError as error:
                raise ChannelClosed(str(error)) from error
            if not chunk:
                self._drop_descriptors()
                raise ChannelClosed("end of stream")
            self._data += chunk

    def _broken(self, why: str) -> NoReturn:
        self._drop_descriptors()
        raise ChannelBroken(why) from None

    def _drop_descriptors(self) -> None:
        for fd in self._fds:
            with contextlib.suppress(OSError):
                os.close(fd)
        self._fds = []


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    found = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found.frombytes(data[: len(data) - len(data) % found.itemsize])
    return list(found)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key twice in one object")
    return found

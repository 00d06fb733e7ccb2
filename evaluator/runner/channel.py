"""A private pipe that carries JSON frames and file descriptors. Nothing on it is ever unpickled or evaluated."""

from __future__ import annotations

import array
import json
import os
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from typing import Any

MAX_FRAME = 32 << 20
"""Bytes; a longer frame is a broken or hostile peer."""

_HEADER = struct.Struct(">I")
_MAX_FDS = 8


class ChannelClosed(Exception):
    """The other side is gone, or what it sent is no frame."""


class ChannelTimeout(Exception):
    """Nothing complete arrived in time."""


class Channel:
    """Length-delimited JSON objects over a Unix stream socket, with descriptors as ancillary data."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    @classmethod
    def pair(cls) -> tuple[Channel, socket.socket]:
        """A channel for this side and the raw socket to hand to the other."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        return cls(ours), theirs

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()

    def send(self, message: Mapping[str, Any], fds: Sequence[int] = ()) -> None:
        """Send one frame.

        Raises:
            ChannelClosed: the other side is gone.
        """
        payload = json.dumps(message).encode()
        try:
            self._sock.settimeout(60.0)
            header = _HEADER.pack(len(payload))
            if fds:
                socket.send_fds(self._sock, [header], list(fds))
            else:
                self._sock.sendall(header)
            self._sock.sendall(payload)
        except OSError as error:
            raise ChannelClosed(str(error)) from error

    def receive(self, timeout: float | None, spin: float = 0.0) -> tuple[dict[str, Any], list[int]]:
        """The next frame and the descriptors that came with it; ``timeout`` in seconds, None waits for ever.

        ``spin``: seconds to poll before sleeping. A process that sleeps wakes 20–150 µs late, which would be timed.

        Raises:
            ChannelTimeout: no whole frame within ``timeout``.
            ChannelClosed: end of stream, or bytes that are not a frame.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        if spin:
            self._poll(min(spin, timeout or spin))
        header, fds = self._exactly(_HEADER.size, deadline, take_fds=True)
        (length,) = _HEADER.unpack(header)
        if length > MAX_FRAME:
            raise ChannelClosed(f"a frame of {length} bytes; at most {MAX_FRAME} are accepted")
        payload, _ = self._exactly(length, deadline)
        try:
            message = json.loads(payload)
        except ValueError as error:
            raise ChannelClosed("bytes that are not JSON") from error
        if not isinstance(message, dict):
            raise ChannelClosed("a frame that is not an object")
        return message, fds

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

    def _exactly(self, size: int, deadline: float | None, take_fds: bool = False) -> tuple[bytes, list[int]]:
        data = bytearray()
        fds: list[int] = []
        while len(data) < size:
            self._sock.settimeout(None if deadline is None else max(deadline - time.monotonic(), 1e-4))
            try:
                if take_fds:
                    chunk, ancillary, _, _ = self._sock.recvmsg(size - len(data), socket.CMSG_SPACE(_MAX_FDS * 4))
                    fds += _descriptors(ancillary)
                else:
                    chunk = self._sock.recv(min(size - len(data), 1 << 20))
            except TimeoutError as error:
                raise ChannelTimeout("no answer in time") from error
            except OSError as error:
                raise ChannelClosed(str(error)) from error
            if not chunk:
                for fd in fds:
                    os.close(fd)
                raise ChannelClosed("end of stream")
            data += chunk
        return bytes(data), fds


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    found = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found.frombytes(data[: len(data) - len(data) % found.itemsize])
    return list(found)

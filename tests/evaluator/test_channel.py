"""Frames on the pipe: what a broken or hostile peer sends never becomes anything but ChannelClosed or ChannelTimeout."""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelwright.evaluator.runner.channel import (
    MAX_FRAME,
    MAX_UNTRUSTED,
    Channel,
    ChannelBroken,
    ChannelClosed,
    ChannelTimeout,
    FrameTooLong,
)


def test_objects_and_descriptors_arrive_together() -> None:
    ours, raw = Channel.pair()
    with closing(ours), closing(Channel(raw)) as theirs:
        read, write = os.pipe()
        ours.send({"a": [1, 2.5, None]}, [write])
        message, fds = theirs.receive(1.0)
        assert message == {"a": [1, 2.5, None]}
        os.write(fds[0], b"x")
        assert os.read(read, 1) == b"x"
        for fd in (read, write, *fds):
            os.close(fd)


@pytest.mark.parametrize(
    "data", [b"", b"\x00", struct.pack(">I", MAX_FRAME + 1), struct.pack(">I", 2) + b"[]", struct.pack(">I", 3) + b"{x}"]
)
def test_bytes_that_are_no_frame_close_the_channel(data: bytes) -> None:
    ours, raw = Channel.pair()
    with closing(ours):
        raw.sendall(data)
        raw.close()
        with pytest.raises(ChannelClosed):
            ours.receive(1.0)


def test_half_a_frame_times_out() -> None:
    ours, raw = Channel.pair()
    with closing(ours), closing(raw):
        raw.sendall(struct.pack(">I", 100) + b"{")
        with pytest.raises(ChannelTimeout):
            ours.receive(0.05)


def descriptors() -> int:
    """Descriptors open in this process."""
    return len(list(Path("/proc/self/fd").iterdir()))


def frame(payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + payload


@contextmanager
def untrusted() -> Iterator[tuple[Channel, socket.socket]]:
    ours, raw = Channel.pair(untrusted=True)
    with closing(ours), closing(raw):
        yield ours, raw


@pytest.mark.parametrize(
    "payload",
    [
        b'{"a": NaN}',
        b'{"a": [-Infinity]}',
        b'{"a": 1, "a": 2}',
        b'{"a": {"b": 1, "b": 1}}',
        b'{"a": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"a": ' + b"9" * 10_000 + b"}",
        b'{"a": "\xff"}',
        b'{"a": "\xed\xa0\x80"}',
        '{"a": 1}'.encode("utf-16"),
        b"\xef\xbb\xbf{}",
        b"[1]",
        b"1",
        b"",
    ],
    ids=lambda payload: repr(payload[:12]),
)
def test_an_untrusted_peer_must_write_strict_json(payload: bytes) -> None:
    with untrusted() as (ours, raw):
        raw.settimeout(1.0)
        raw.sendall(frame(payload)) if len(payload) < 100_000 else _send_aside(raw, frame(payload))
        with pytest.raises(ChannelBroken):
            ours.receive(5.0)


def _send_aside(raw: socket.socket, data: bytes) -> None:
    """More than the socket's buffer holds."""
    import threading

    other = raw.dup()
    threading.Thread(target=lambda: (other.settimeout(5.0), other.sendall(data), other.close()), daemon=True).start()


def test_a_length_of_an_untrusted_peer_is_believed_up_to_a_limit() -> None:
    with untrusted() as (ours, raw):
        raw.sendall(struct.pack(">I", MAX_UNTRUSTED + 1))
        with pytest.raises(ChannelBroken, match="at most"):
            ours.receive(1.0)


@pytest.mark.parametrize("count", [1, 8, 200])
def test_descriptors_of_an_untrusted_peer_are_dropped(count: int) -> None:
    before = descriptors()
    with untrusted() as (ours, raw):
        for _ in range(3):
            socket.send_fds(raw, [frame(b"{}")], [0] * count)
            assert ours.receive(1.0) == ({}, [])
        assert descriptors() == before + 2


def test_descriptors_of_a_broken_frame_are_closed() -> None:
    before = descriptors()
    ours, raw = Channel.pair()
    with closing(ours), closing(raw):
        socket.send_fds(raw, [frame(b"[]")], [0, 0])
        with pytest.raises(ChannelBroken):
            ours.receive(1.0)
        assert descriptors() == before + 2


def test_a_wait_goes_on_where_it_timed_out() -> None:
    data = frame(b'{"a": 1}')
    with untrusted() as (ours, raw):
        for cut in (2, 7):
            raw.sendall(data[:cut] if cut == 2 else data[2:cut])
            with pytest.raises(ChannelTimeout):
                ours.receive(0.02)
        raw.sendall(data[7:])
        assert ours.receive(1.0)[0] == {"a": 1}


def test_what_nobody_asked_for_is_noticed() -> None:
    with untrusted() as (ours, raw):
        assert not ours.unread
        raw.sendall(frame(b"{}") + b"x")
        assert ours.unread
        ours.receive(1.0)
        assert ours.unread


def test_a_peer_that_does_not_read_times_out() -> None:
    with untrusted() as (ours, _), pytest.raises(ChannelTimeout):
        ours.send({"a": "x" * (4 << 20)}, timeout=0.05)


def test_too_long_a_frame_is_not_begun() -> None:
    ours, raw = Channel.pair()
    with closing(ours), closing(Channel(raw, longest=100)) as theirs:
        with pytest.raises(FrameTooLong):
            theirs.send({"a": "x" * 100})
        theirs.send({"a": 1})
        assert ours.receive(1.0)[0] == {"a": 1}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=60) | st.sampled_from([b"{}", b'{"a":1}', b"[", b"NaN", b"\x00\x00\x00\x02"]), max_size=8))
def test_any_frames_of_an_untrusted_peer_give_objects_or_clean_errors(payloads: list[bytes]) -> None:
    with untrusted() as (ours, raw):
        raw.sendall(b"".join(frame(p) if i % 3 else p for i, p in enumerate(payloads)))
        raw.close()
        for _ in range(len(payloads) + 1):
            try:
                message, fds = ours.receive(1.0)
            except (ChannelClosed, ChannelTimeout):
                return
            assert isinstance(message, dict)
            assert fds == []
            json.dumps(message, allow_nan=False)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_give_an_object_or_a_clean_error(data: bytes) -> None:
    ours, raw = Channel.pair()
    with closing(ours):
        raw.sendall(data)
        raw.close()
        try:
            message, _ = ours.receive(1.0)
        except (ChannelClosed, ChannelTimeout):
            return
        assert isinstance(message, dict)

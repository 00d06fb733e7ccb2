"""Frames on the pipe: what a broken or hostile peer sends never becomes anything but ChannelClosed or ChannelTimeout."""

from __future__ import annotations

import os
import struct
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelwright.evaluator.runner.channel import MAX_FRAME, Channel, ChannelClosed, ChannelTimeout


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

"""Tapes of native calls: what a runner writes comes back as it was, and what nobody may write is refused."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
import torch

from kernelwright.evaluator.prototypes import prototypes
from kernelwright.evaluator.sanitizers.tape_reader import MAGIC, MAX_FILE, BadTape, Tape, read, writable, written
from kernelwright.evaluator.tape import Recorder

SOURCE = 'extern "C" void f(const float* x, float* y, int64_t n, float a, bool on) {}'
FUNCTIONS = {"s": prototypes(SOURCE)}
HEADER: dict[str, Any] = {
    "storages": [[8, 64]],
    "blobs": [8],
    "calls": [
        {
            "source": "s",
            "name": "f",
            "arguments": [{"at": [0, 4]}, None, {"bits": 3}, {"bits": 0}, {"bits": 1}],
            "contents": [[0, 0]],
        }
    ],
    "mapped": [[4096, 8192]],
}


def bytes_of(header: Any, blobs: bytes = b"12345678") -> bytes:
    text = json.dumps(header).encode()
    return MAGIC + struct.pack("<Q", len(text)) + text + blobs


def recorded(recorder: Recorder) -> Tape:
    with writable(MAX_FILE) as fd:
        return read(written(fd, recorder.write(fd)), FUNCTIONS)


def call(recorder: Recorder, *arguments: Any) -> None:
    converted = [a.data_ptr() if isinstance(a, torch.Tensor) else a for a in arguments]
    recorder("s", FUNCTIONS["s"]["f"], arguments, converted)


def test_what_was_recorded_comes_back() -> None:
    recorder = Recorder()
    x = torch.arange(6.0)
    call(recorder, x[2:], None, -1, 0.5, True)
    call(recorder, x, x[1:], 4, -0.0, False)
    tape = recorded(recorder)
    assert [size for size, _ in tape.storages] == [24]
    first, second = tape.calls
    assert (first.arguments[0].storage, first.arguments[0].offset, first.arguments[1].null) == (0, 8, True)
    assert first.arguments[2].bits == 2**64 - 1
    assert struct.pack("<Q", first.arguments[3].bits)[:4] == struct.pack("<f", 0.5)
    assert (second.arguments[0].offset, second.arguments[1].offset, second.arguments[4].bits) == (0, 4, 0)
    assert tape.blobs == (struct.pack("<6f", *range(6)),), "equal contents are kept once"


def test_contents_are_those_before_the_call() -> None:
    recorder = Recorder()
    x = torch.zeros(2)
    call(recorder, x, x, 2, 1.0, True)
    x.fill_(7.0)
    call(recorder, x, x, 2, 1.0, True)
    tape = recorded(recorder)
    assert [tape.blobs[c.contents[0][1]] for c in tape.calls] == [bytes(8), struct.pack("<2f", 7, 7)]


def test_too_much_is_a_problem_and_no_tape() -> None:
    recorder = Recorder()
    for _ in range(4):
        t = torch.rand(4 << 20)
        call(recorder, t, t, 1, 1.0, True)
    with writable(MAX_FILE) as fd:
        assert recorder.write(fd) == 0
    assert "MiB" in recorder.problem


def test_the_example_is_a_tape() -> None:
    assert read(bytes_of(HEADER), FUNCTIONS).calls[0].arguments[0].offset == 4


@pytest.mark.parametrize(
    "change",
    [
        {"storages": [[1 << 60, 64]]},
        {"storages": [[-1, 64]]},
        {"storages": [[8, 3]]},
        {"storages": [[8, 64]] * 20_000},
        {"storages": "no"},
        {"blobs": [9]},
        {"blobs": [1 << 62]},
        {"blobs": []},
        {"calls": [{**HEADER["calls"][0], "name": "g"}]},
        {"calls": [{**HEADER["calls"][0], "source": ["s"]}]},
        {"calls": [{**HEADER["calls"][0], "arguments": []}]},
        {"calls": [{**HEADER["calls"][0], "arguments": [{"at": [0, 9]}, *HEADER["calls"][0]["arguments"][1:]]}]},
        {"calls": [{**HEADER["calls"][0], "arguments": [{"at": [-1, 0]}, *HEADER["calls"][0]["arguments"][1:]]}]},
        {"calls": [{**HEADER["calls"][0], "arguments": [{"bits": 0}, *HEADER["calls"][0]["arguments"][1:]]}]},
        {"calls": [{**HEADER["calls"][0], "contents": [[0, 5]]}]},
        {"calls": [{**HEADER["calls"][0], "contents": [[True, 0]]}]},
        {"calls": 7},
        {"mapped": [[1]]},
    ],
)
def test_forged_headers_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BadTape):
        read(bytes_of({**HEADER, **change}), FUNCTIONS)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"KWTAPE1\n",
        MAGIC + struct.pack("<Q", 1 << 63),
        MAGIC + struct.pack("<Q", 4) + b"null",
        MAGIC + struct.pack("<Q", 2000) + b"[" * 2000,
        bytes_of(HEADER)[:-1],
        bytes_of(HEADER) + b"x",
    ],
)
def test_bytes_that_are_no_tape_are_refused(data: bytes) -> None:
    with pytest.raises(BadTape):
        read(data, FUNCTIONS)


@pytest.mark.parametrize("claim", [-1, None, "9", 1 << 62, True])
def test_a_runners_claim_of_the_size_is_bounded(claim: Any) -> None:
    with writable(1 << 16) as fd:
        assert len(written(fd, claim)) in (0, 1 << 16)

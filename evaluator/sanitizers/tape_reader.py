"""Read a tape that a runner wrote, as bytes from an adversary: bounded, checked, and never executed.

It does not protect against a runner that forges a well-formed tape: such a tape replays other calls than were made.
The sanitizers look for mistakes; a kernel that hides from them is still judged by its outputs.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kernelwright.evaluator.prototypes import Prototype

MAGIC = b"KWTAPE1\n"
MAX_FILE = 64 << 20
_MAX_HEADER = 16 << 20
_MAX_STORAGES = 10_000
_MAX_STORAGE_BYTES = 256 << 20
_MAX_CALLS = 20_000
_ALIGNS = frozenset(1 << n for n in range(13))


class BadTape(ValueError):
    """Bytes that the harness's own recorder cannot have written."""


@dataclass(frozen=True)
class Argument:
    """A scalar's 64 bits; or a pointer ``offset`` bytes into a storage; or null."""

    bits: int = 0
    storage: int | None = None
    offset: int = 0
    null: bool = False


@dataclass(frozen=True)
class Call:
    source: str
    """Hash of the native source."""
    name: str
    arguments: tuple[Argument, ...]
    contents: tuple[tuple[int, int], ...]
    """(storage, blob): what each storage held just before the call."""


@dataclass(frozen=True)
class Tape:
    """Native calls in order, from the loading of the kernel's module on."""

    storages: tuple[tuple[int, int], ...]
    """(bytes, alignment of the address)."""
    blobs: tuple[bytes, ...]
    calls: tuple[Call, ...]
    mapped: tuple[tuple[int, int], ...]
    """Address ranges of the process that recorded."""


@contextmanager
def writable(size: int) -> Iterator[int]:
    """Memory of ``size`` bytes, to hand to a runner, that it can neither grow nor shrink."""
    fd = os.memfd_create("tape", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, size)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
        yield fd
    finally:
        os.close(fd)


def written(fd: int, size: Any) -> bytes:
    """A copy of the first ``size`` bytes (a runner's claim, so anything) of :func:`writable` memory."""
    return os.pread(fd, min(size, MAX_FILE), 0) if type(size) is int and size > 0 else b""


def read(data: bytes, functions: Mapping[str, Mapping[str, Prototype]]) -> Tape:
    """The tape in ``data``; ``functions``: source hash -> its prototypes by name.

    Raises:
        BadTape: contents that do not fit together.
    """
    try:
        return _parse(data, functions)
    except BadTape:
        raise
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, struct.error, RecursionError) as error:
        raise BadTape(f"a tape that makes no sense ({type(error).__name__})") from None


def _parse(data: bytes, functions: Mapping[str, Mapping[str, Prototype]]) -> Tape:
    if data[: len(MAGIC)] != MAGIC:
        raise BadTape("no tape")
    (length,) = struct.unpack_from("<Q", data, len(MAGIC))
    start = len(MAGIC) + 8
    if length > min(_MAX_HEADER, len(data) - start):
        raise BadTape("a tape whose header is cut or too long")
    header = json.loads(data[start : start + length])
    storages = tuple((_int(n, _MAX_STORAGE_BYTES), _int(align, 4096)) for n, align in header["storages"])
    if len(storages) > _MAX_STORAGES or sum(n for n, _ in storages) > _MAX_STORAGE_BYTES:
        raise BadTape("a tape with too many or too large storages")
    if any(align not in _ALIGNS for _, align in storages) or len(header["calls"]) > _MAX_CALLS:
        raise BadTape("a tape with an impossible alignment or too many calls")
    blobs = _blobs(data, start + length, header["blobs"])
    calls = tuple(_call(entry, storages, blobs, functions) for entry in header["calls"])
    mapped = tuple((_int(low, 1 << 63), _int(high, 1 << 63)) for low, high in header["mapped"])
    return Tape(storages, blobs, calls, mapped)


def _blobs(data: bytes, at: int, lengths: list[Any]) -> tuple[bytes, ...]:
    found = []
    for length in lengths:
        end = at + _int(length, MAX_FILE)
        if end > len(data):
            raise BadTape("a tape that is cut")
        found.append(data[at:end])
        at = end
    if at != len(data):
        raise BadTape("a tape with bytes left over")
    return tuple(found)


def _call(
    entry: Mapping[str, Any],
    storages: tuple[tuple[int, int], ...],
    blobs: tuple[bytes, ...],
    functions: Mapping[str, Mapping[str, Prototype]],
) -> Call:
    prototype = functions[entry["source"]][entry["name"]]
    arguments = []
    for parameter, value in zip(prototype.parameters, entry["arguments"], strict=True):
        if parameter.type.pointer and value is None:
            arguments.append(Argument(null=True))
        elif parameter.type.pointer:
            index = _int(value["at"][0], len(storages) - 1)
            arguments.append(Argument(storage=index, offset=_int(value["at"][1], storages[index][0])))
        else:
            arguments.append(Argument(bits=_int(value["bits"], (1 << 64) - 1)))
    contents = []
    for index, blob in entry["contents"]:
        if len(blobs[_int(blob, len(blobs) - 1)]) != storages[_int(index, len(storages) - 1)][0]:
            raise BadTape("contents that do not fill their storage")
        contents.append((index, blob))
    return Call(entry["source"], entry["name"], tuple(arguments), tuple(contents))


def _int(value: Any, most: int) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise BadTape(f"a number outside 0 … {most}")
    return value

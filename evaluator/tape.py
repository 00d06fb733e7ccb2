"""A tape of native calls: what the runner records while a kernel runs, for replay under a sanitizer elsewhere.

Recording starts before the kernel's module is executed, so that calls of its constructors are on the tape too, and
every tensor that was passed is kept alive until it ends: an address then names one storage. A storage is on the tape
from its start to its end as torch allocated it; a view may be read beyond its own range but not beyond its storage's.

What a tape cannot carry is named by :attr:`Recorder.problem` and the replay is skipped: storages that overlap in part,
more than :data:`MAX_BYTES`. Addresses that a kernel passes as numbers cannot be carried either: the tape tells what this
process had mapped, so that a fault at such an address accuses nobody.
"""

from __future__ import annotations

import ctypes
import json
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from kernelwright.evaluator.prototypes import CType, Prototype

MAGIC = b"KWTAPE1\n"
MAX_BYTES = 48 << 20
"""Contents on one tape; the whole file stays below the 64 MiB that a runner may write."""
MAX_CALLS = 20_000
_MAX_ALIGN = 4096
_MAX_SPANS = 4096


class Recorder:
    """Collects calls. Handed to :func:`kernelwright.evaluator.native.record`, asked to :meth:`write` afterwards."""

    def __init__(self) -> None:
        self.problem = ""
        self._on = True
        self._storages: list[tuple[int, int]] = []
        self._alive: list[torch.Tensor] = []
        self._blobs: list[bytes] = []
        self._known: dict[bytes, int] = {}
        self._bytes = 0
        self._calls: list[dict[str, Any]] = []

    def __call__(self, source: str, prototype: Prototype, arguments: Sequence[Any], converted: Sequence[Any]) -> None:
        """One call that is about to be made: its arguments as given and as they cross."""
        if not self._on:
            return
        if len(self._calls) >= MAX_CALLS:
            self._refuse(f"more than {MAX_CALLS} native calls")
            return
        touched: set[int] = set()
        entries: list[Any] = []
        for parameter, given, value in zip(prototype.parameters, arguments, converted, strict=True):
            if not parameter.type.pointer:
                entries.append({"bits": _bits(parameter.type, value)})
            elif not value:
                entries.append(None)
            else:
                index, offset = self._place(given)
                entries.append({"at": [index, offset]})
                touched.add(index)
        contents = [[index, self._blob(index)] for index in sorted(touched)]
        self._calls.append({"source": source, "name": prototype.name, "arguments": entries, "contents": contents})

    def write(self, fd: int) -> int:
        """Stop recording and write the tape to ``fd``; its size in bytes, 0 when there is a :attr:`problem`."""
        self._on = False
        self._alive.clear()
        if self.problem:
            return 0
        header = {
            "storages": [[size, min(_MAX_ALIGN, start & -start)] for start, size in self._storages],
            "blobs": [len(blob) for blob in self._blobs],
            "calls": self._calls,
            "mapped": _mapped(),
        }
        text = json.dumps(header).encode()
        data = b"".join((MAGIC, struct.pack("<Q", len(text)), text, *self._blobs))
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        return len(data)

    def _refuse(self, problem: str) -> None:
        """Give up: what is missing would make the replay another run."""
        self.problem = self.problem or problem
        self._on = False

    def _place(self, t: torch.Tensor) -> tuple[int, int]:
        """(storage, byte offset) of a tensor's first element; a storage inside a known one is a part of it."""
        storage = t.untyped_storage()
        start, size = storage.data_ptr(), storage.nbytes()
        for index, (known, length) in enumerate(self._storages):
            if known <= start and start + size <= known + length:
                return index, t.data_ptr() - known
            if start < known + length and known < start + size:
                self._refuse("two storages overlap in part")
        self._storages.append((start, size))
        self._alive.append(t)
        return len(self._storages) - 1, t.data_ptr() - start

    def _blob(self, index: int) -> int:
        """The number of the present contents of the storage at ``index``; equal contents are kept once."""
        start, size = self._storages[index]
        if self._bytes + size > MAX_BYTES:
            self._refuse(f"its tensors exceed {MAX_BYTES >> 20} MiB")
            return 0
        content = ctypes.string_at(start, size)  # no torch operator: those are counted as the kernel's
        if content not in self._known:
            self._known[content] = len(self._blobs)
            self._blobs.append(content)
            self._bytes += size
        return self._known[content]


def _bits(kind: CType, value: Any) -> int:
    if kind.kind == "float32":
        return int.from_bytes(struct.pack("<f", value), "little")
    if kind.kind == "float64":
        return int.from_bytes(struct.pack("<d", value), "little")
    return int(value) & 0xFFFF_FFFF_FFFF_FFFF


def _mapped() -> list[list[int]]:
    """The address ranges of this process, neighbours merged."""
    spans: list[list[int]] = []
    try:
        rows = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return [[1 << 16, 1 << 47]]  # cannot tell: then no fault at a wild address decides
    for row in rows:
        low, high = (int(part, 16) for part in row.split(" ", 1)[0].split("-"))
        if spans and low == spans[-1][1]:
            spans[-1][1] = high
        elif high < 1 << 63:
            spans.append([low, high])
    return spans[:_MAX_SPANS]

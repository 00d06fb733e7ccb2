"""What a shared library itself defines: dlsym finds a name in the libraries that it needs too. Standard library only."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

_DYNAMIC_SYMBOLS = 11  # SHT_DYNSYM
_SYMBOL = struct.Struct("<IBBHQQ")
_SECTION = struct.Struct("<IIQQQQIIQQ")


def exported(path: str) -> frozenset[str]:
    """Names in the dynamic symbol table that are defined there; nothing where ``path`` is no 64-bit little-endian ELF."""
    data = Path(path).read_bytes()
    try:
        return frozenset(_defined(data)) if data[:6] == b"\x7fELF\x02\x01" else frozenset()
    except (struct.error, IndexError, ValueError):
        return frozenset()


def _defined(data: bytes) -> Iterator[str]:
    (start,) = struct.unpack_from("<Q", data, 0x28)
    size, count = struct.unpack_from("<HH", data, 0x3A)
    sections = [_SECTION.unpack_from(data, start + i * size) for i in range(count)]
    for _, kind, _, _, offset, length, link, *_ in sections:
        if kind != _DYNAMIC_SYMBOLS:
            continue
        names = sections[link][4]
        for at in range(offset, offset + length, _SYMBOL.size):
            name, _, _, section, _, _ = _SYMBOL.unpack_from(data, at)
            if name and section:
                yield data[names + name : data.index(b"\0", names + name)].decode()

"""Which accesses of a launch conflict: pure numpy over what was recorded, see :mod:`triton_memory`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_MAX_REPORTS = 8
_MAX_PAIRS = 4096


@dataclass(frozen=True)
class Access:
    """One load, store or atomic of one program; programs are numbered in the order in which they ran."""

    what: str
    """``load``, ``store`` or ``atomic``."""
    program: int
    addresses: Any
    """uint64, one a lane that was active."""
    width: int
    """Bytes a lane."""
    values: Any
    """What a store wrote."""
    where: str


def conflicts(accesses: Sequence[Access]) -> Iterator[tuple[str, str, int]]:
    """(first access, second access, address) of races, each pair of source lines once."""
    told: set[tuple[str, str]] = set()
    for access in accesses:
        if access.what == "store" and (address := _clash(access)) is not None:
            told.add((access.where, access.where))
            yield f"{access.where}: store", "a store", address
    for earlier, later, address in _pairs(accesses):
        first, second = accesses[earlier], accesses[later]
        if (first.where, second.where) in told or len(told) >= _MAX_REPORTS:
            continue
        if _ordered(accesses, earlier, later):
            continue
        told.add((first.where, second.where))
        yield f"{first.where}: {first.what}", f"{second.where}: {second.what}", address


def _clash(store: Access) -> int | None:
    """An address to which lanes of one store write different values."""
    order = np.argsort(store.addresses, kind="stable")
    addresses, values = store.addresses[order], store.values[order]
    raw = values.view(np.uint8).reshape(len(values), -1)
    bad = (addresses[1:] == addresses[:-1]) & (raw[1:] != raw[:-1]).any(axis=1)
    return int(addresses[1:][bad][0]) if bad.any() else None


def _pairs(accesses: Sequence[Access]) -> list[tuple[int, int, int]]:
    """(earlier, later, address): accesses of two programs that share memory, one a plain write, not of equal values."""
    if not accesses:
        return []
    unit = _unit(accesses)
    index = np.concatenate([np.full(a.addresses.size * (a.width // unit), i) for i, a in enumerate(accesses)])
    piece = np.concatenate([_units(a, unit) for a in accesses])
    value = np.concatenate([_values(a, unit) for a in accesses])
    program = np.array([a.program for a in accesses])[index]
    stored = np.array([a.what == "store" for a in accesses])[index]
    order = np.lexsort((index, piece))
    piece, index, value, program, stored = piece[order], index[order], value[order], program[order], stored[order]
    starts = np.flatnonzero(np.r_[True, piece[1:] != piece[:-1]])
    first, last = np.minimum.reduceat(program, starts), np.maximum.reduceat(program, starts)
    written = np.logical_or.reduceat(stored, starts)
    ends = np.r_[starts[1:], piece.size]
    found: dict[tuple[int, int], int] = {}
    for group in np.flatnonzero((first != last) & written):
        rows = slice(starts[group], ends[group])
        for pair in _conflicting(index[rows], program[rows], stored[rows], value[rows]):
            found.setdefault(pair, int(piece[starts[group]]))
        if len(found) > _MAX_PAIRS:
            break
    return [(a, b, address) for (a, b), address in sorted(found.items())]


def _conflicting(index: Any, program: Any, stored: Any, value: Any) -> Iterator[tuple[int, int]]:
    """Pairs on one piece. Stores of one value everywhere, with no other kind of access, are harmless."""
    if stored.all() and (value == value[0]).all():
        return
    for i in np.flatnonzero(stored)[:64]:
        others = np.flatnonzero(program != program[i])[:64]
        for j in others:
            if stored[j] and value[i] == value[j]:
                continue
            yield (int(index[i]), int(index[j])) if index[i] < index[j] else (int(index[j]), int(index[i]))


def _unit(accesses: Sequence[Access]) -> int:
    """The largest piece of memory, in bytes, that every lane covers wholly or not at all."""
    for unit in (8, 4, 2):
        if all(a.width % unit == 0 and not (a.addresses % np.uint64(unit)).any() for a in accesses):
            return unit
    return 1


def _units(access: Access, unit: int) -> Any:
    """The address of every piece that an access covers."""
    if access.width == unit:
        return access.addresses
    return (access.addresses[:, None] + np.arange(0, access.width, unit, dtype=np.uint64)).reshape(-1)


def _values(access: Access, unit: int) -> Any:
    """What is written to each of :func:`_units`; zeros for what writes nothing, or atomically."""
    if access.values is None:
        return np.zeros(access.addresses.size * (access.width // unit), dtype=np.uint64)
    return np.ascontiguousarray(access.values).view(f"u{unit}").reshape(-1).astype(np.uint64)


def _ordered(accesses: Sequence[Access], earlier: int, later: int) -> bool:
    """Whether an atomic after ``earlier`` in its program meets an atomic before ``later`` in its own, on one address."""
    first, second = accesses[earlier].program, accesses[later].program
    released = [a.addresses for a in accesses[earlier:] if a.program == first and a.what == "atomic"]
    acquired = [a.addresses for a in accesses[:later] if a.program == second and a.what == "atomic"]
    if not released or not acquired:
        return False
    return bool(np.intersect1d(np.concatenate(released), np.concatenate(acquired)).size)

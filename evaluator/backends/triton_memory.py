"""Bounds and races of interpreted Triton launches, seen at the interpreter's own loads, stores and atomics.

Out of bounds: every active lane of every access must lie in the storage of a tensor that the launch was given (from its
start to its end as torch allocated it). A launch that turns integers into pointers may reach any tensor alive in this
process. Raises :class:`OutOfBounds` before memory is touched, with the line of the kernel.

Races, inside :func:`watch_races`: two programs of a launch access one byte, one of them writes it, not both atomically,
and nothing orders them. The interpreter runs programs one after the other, so an order exists only through atomics: a
later program's access is ordered after an earlier program's when that one did an atomic after its access to an address
on which this one did an atomic before its own. Writes of equal values are harmless and not counted. Also a race: lanes
of one store that write different values to one address.

Not seen: races inside a program other than that, orders that only a wrong interleaving shows (a missing acquire),
accesses by inline assembly, launches of more than :data:`MAX_LANES` lanes. Tried with Triton 3.6 and 3.9.
"""

from __future__ import annotations

import functools
import gc
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kernelwright.evaluator.backends.triton_races import Access, conflicts

MAX_LANES = 2_000_000
"""Accessed lanes of one launch that are compared."""


class OutOfBounds(Exception):
    """An interpreted access outside every tensor of its launch."""


@dataclass
class Seen:
    """What :func:`watch_races` gathers."""

    races: list[str] = field(default_factory=list)
    launches: int = 0
    unchecked: str = ""


@dataclass
class Launch:
    """One launch under way: what it may touch and what it did."""

    starts: Any
    ends: Any
    names: list[str]
    anywhere: bool = False
    accesses: list[Access] = field(default_factory=list)
    lanes: int = 0

    @classmethod
    def of(cls, spans: Mapping[int, tuple[int, str]]) -> Launch:
        """``spans``: start of a storage -> (bytes, name of an argument that lies in it)."""
        starts = sorted(spans)
        ends = [start + spans[start][0] for start in starts]
        # One span that holds nothing, so that a launch without tensors has something to be compared with.
        return cls(
            np.array([0, *starts], dtype=np.uint64),
            np.array([0, *ends], dtype=np.uint64),
            ["", *(spans[start][1] for start in starts)],
        )

    def complaint(self, where: str, what: str, outside: Any) -> str:
        """What is to be said of an access; ``outside``: the addresses that lie in no storage."""
        many = f"{outside.size} elements" if outside.size > 1 else "1 element"
        near = describe(self, int(outside[0]))
        return f"{where}: {what} of {many} outside every tensor of the launch; the first lies {near}"


class _Watch:
    """The state behind the wrapped functions of one process."""

    def __init__(self) -> None:
        self.launch: Launch | None = None
        self.program = -1
        self.seen: Seen | None = None

    def access(self, what: str, pointers: Any, mask: Any, width: int, values: Any = None) -> None:
        """Check one access, and keep it when races are watched."""
        launch = self.launch
        if launch is None:
            return
        active = np.broadcast_to(np.asarray(mask, dtype=bool), pointers.shape)
        addresses = pointers[active].astype(np.uint64).reshape(-1)
        if not addresses.size:
            return
        at = np.searchsorted(launch.starts, addresses, side="right") - 1
        inside = (at >= 0) & (addresses + np.uint64(width) <= launch.ends[at])
        if not inside.all() and not (launch.anywhere and _alive(addresses[~inside], width)):
            raise OutOfBounds(launch.complaint(_line(), what, addresses[~inside]))
        if self.seen is not None:
            launch.lanes += addresses.size
            if launch.lanes <= MAX_LANES:
                kept = None if values is None else np.broadcast_to(values, pointers.shape)[active].reshape(-1)
                launch.accesses.append(Access(what, self.program, addresses, width, kept, _line()))


_watch = _Watch()


def install() -> None:
    """Check every interpreted access of this process from now on. Call once, before a kernel's source is executed."""
    from triton.runtime import interpreter

    interpreter._interpreter = _Checked(interpreter._interpreter)
    builder = interpreter.InterpreterBuilder
    original = builder.create_int_to_ptr

    def int_to_pointer(self: Any, *arguments: Any) -> Any:
        if _watch.launch is not None:
            _watch.launch.anywhere = True
        return original(self, *arguments)

    builder.create_int_to_ptr = int_to_pointer
    set_index = builder.set_grid_idx

    def next_program(self: Any, *arguments: Any) -> Any:
        _watch.program += 1
        return set_index(self, *arguments)

    builder.set_grid_idx = next_program
    executor = interpreter.GridExecutor
    arguments_of = executor._init_args_hst

    @functools.wraps(arguments_of)
    def on_host(self: Any, *arguments: Any) -> Any:
        found = arguments_of(self, *arguments)
        _watch.launch, _watch.program = _known(found, self.arg_names), -1
        return found

    executor._init_args_hst = on_host
    run = executor.__call__

    @functools.wraps(run)
    def launched(self: Any, *arguments: Any, **options: Any) -> Any:
        try:
            result = run(self, *arguments, **options)
            _finish()
            return result
        finally:
            _watch.launch = None

    executor.__call__ = launched


@contextmanager
def watch_races() -> Iterator[Seen]:
    """Compare the accesses of all programs of every launch made inside."""
    _watch.seen = Seen()
    try:
        yield _watch.seen
    finally:
        _watch.seen = None


def _finish() -> None:
    launch, seen = _watch.launch, _watch.seen
    if launch is None or seen is None:
        return
    seen.launches += 1
    if launch.lanes > MAX_LANES:
        seen.unchecked = f"a launch of {launch.lanes} accesses is too large to compare"
        return
    for first, second, address in conflicts(launch.accesses):
        where = describe(launch, address)
        seen.races.append(f"{first} and {second} of another program on the same element of {where}, unordered")


class _Checked:
    """The interpreter's native module, its memory functions checked first."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def load(self, pointers: Any, mask: Any, other: Any, dtype: Any) -> Any:
        _watch.access("load", pointers, mask, np.dtype(dtype).itemsize)
        return self._module.load(pointers, mask, other, dtype)

    def store(self, pointers: Any, values: Any, mask: Any) -> Any:
        _watch.access("store", pointers, mask, values.dtype.itemsize, values)
        return self._module.store(pointers, values, mask)

    def atomic_rmw(self, operation: Any, pointers: Any, values: Any, mask: Any, order: Any) -> Any:
        _watch.access("atomic", pointers, mask, values.dtype.itemsize)
        return self._module.atomic_rmw(operation, pointers, values, mask, order)

    def atomic_cas(self, pointers: Any, expected: Any, values: Any, order: Any) -> Any:
        _watch.access("atomic", pointers, True, values.dtype.itemsize)
        return self._module.atomic_cas(pointers, expected, values, order)


def _known(found: tuple[Any, Any], names: list[str]) -> Launch:
    """The storages of a launch's arguments, sorted by address, with the name of an argument each."""
    positional, named = found
    spans: dict[int, tuple[int, str]] = {}

    def collect(value: Any, name: str) -> None:
        if isinstance(value, tuple):
            for part in value:
                collect(part, name)
        elif hasattr(value, "base") and hasattr(value, "block_shape"):  # a tensor descriptor
            collect(value.base, name)
        elif hasattr(value, "data_ptr"):
            storage = getattr(value, "base", value)  # triton's TensorWrapper
            storage = (storage if isinstance(storage, torch.Tensor) else value).untyped_storage()
            spans.setdefault(storage.data_ptr(), (storage.nbytes(), name))

    for name, value in [*zip(names, positional, strict=False), *named.items()]:
        collect(value, name)
    return Launch.of(spans)


def _alive(addresses: Any, width: int) -> bool:
    """Whether all addresses lie in tensors that this process holds. Slow: for launches that make pointers of integers."""
    spans = []
    for value in gc.get_objects():
        # Exact types: what a subclass overrides would run here, where the heap may be looked through.
        if type(value) in (torch.Tensor, torch.nn.Parameter) and value.device.type == "cpu":
            storage = value.untyped_storage()
            spans.append((storage.data_ptr(), storage.data_ptr() + storage.nbytes()))
    return all(any(low <= int(a) and int(a) + width <= high for low, high in spans) for a in np.unique(addresses))


def describe(launch: Launch, address: int) -> str:
    """An address in words: the argument whose storage holds it or is nearest."""
    best, words = 1 << 62, "at no tensor"
    for start, end, name in zip(launch.starts.tolist()[1:], launch.ends.tolist()[1:], launch.names[1:], strict=True):
        if start <= address < end:
            return f"`{name}`"
        distance = start - address if address < start else address - end
        if distance < best:
            side = "bytes before the start" if address < start else "bytes past the end"
            best, words = distance, f"{distance} {side} of `{name}`"
    return words


def _line() -> str:
    """``kernel line 12``: the innermost frame that is neither Triton's, numpy's nor this file's."""
    import triton

    own = (str(Path(triton.__file__).parent), str(Path(np.__file__).parent), __file__)
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(own):
        if frame.f_back is None:
            break
        frame = frame.f_back
    return f"kernel line {frame.f_lineno}"

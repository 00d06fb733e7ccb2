"""Launch Ascend C kernels in the simulator: ``lib.name[blocks](…)``. Imports torch and the standard library.

Tensors may be on an NPU, and the launch is :mod:`.native_npu`'s then.

A kernel gets no host pointers: tensors are passed as addresses of a global memory that the simulator alone can read.
Every other launch takes its blocks backwards.
"""

from __future__ import annotations

import ctypes
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

import torch

from kernelwright.evaluator.prototypes import Prototype

_SPACE = 0x5A5A << 48
"""As in ``ascendc/core.h``."""
_MOST_BLOCKS = 65533
_MOST_TENSORS = 250
_MESSAGE = 1024

Convert = Callable[[Any], Any]
Elsewhere = Callable[[str, int, tuple[Any, ...]], bool]
"""Takes a kernel's name, its blocks and arguments; whether it made the launch, which is not the simulator's then."""


class SimulatedFault(RuntimeError):
    """The simulator stopped a launch: the kernel does what the core does not allow, or what has no defined result on it."""


class _Given(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("bytes", ctypes.c_int64)]  # noqa: RUF012 - ctypes reads it so


class _Launch(ctypes.Structure):
    _fields_ = [  # noqa: RUF012
        ("blocks", ctypes.c_int64),
        ("backwards", ctypes.c_int64),
        ("tensors", ctypes.c_int64),
        ("given", ctypes.c_void_p),
        ("message", ctypes.c_void_p),
        ("capacity", ctypes.c_int64),
    ]


_faults: list[str] = []
_launches = [0]


def stop(fault: str) -> NoReturn:
    """A launch ends here, and its fault is kept.

    Raises:
        SimulatedFault: always.
    """
    _faults.append(fault)
    raise SimulatedFault(fault)


def check() -> None:
    """Raise the first fault of this process again: one that a kernel caught is a fault still.

    Raises:
        SimulatedFault: a launch was stopped.
    """
    if _faults:
        raise SimulatedFault(_faults[0])


class AscendLibrary:
    """The kernels of one Ascend C source, as attributes. Unknown names list what there is.

    Args:
        path: the built library.
        functions: prototype of each kernel, by name.
        converters: of each kernel's arguments, by name.
        storage: ctypes type of each argument, by name.
        symbol: opens a library and gives a function of it.
        count: ``count[0]`` is raised at each launch.
        elsewhere: asked before each launch.
    """

    def __init__(
        self,
        path: str,
        functions: Mapping[str, Prototype],
        converters: Mapping[str, tuple[Convert, ...]],
        storage: Mapping[str, tuple[Any, ...]],
        symbol: Callable[[str, str], Any],
        count: list[int],
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self._functions = tuple(functions)
        for name, prototype in functions.items():
            entry = symbol(path, f"kwsim_run_{name}")
            entry.argtypes = [ctypes.c_void_p, *storage[name]]
            entry.restype = ctypes.c_int
            setattr(self, name, AscendKernel(prototype, converters[name], entry, count, elsewhere))

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"the library has no kernel {name!r}; it has: {', '.join(self._functions)}")

    def __repr__(self) -> str:
        return f"<Ascend C library with {', '.join(self._functions)}>"


class AscendKernel:
    """A kernel that wants its number of blocks: ``kernel[blocks]``, then its arguments."""

    __slots__ = ("_configured", "prototype")

    def __init__(
        self,
        prototype: Prototype,
        converters: tuple[Convert, ...],
        entry: Any,
        count: list[int],
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self.prototype = str(prototype)
        arity = len(converters)

        def configured(key: Any) -> Callable[..., None]:
            blocks = operator.index(key)
            if not 1 <= blocks <= _MOST_BLOCKS:
                raise ValueError(f"{prototype.name}: {blocks} blocks; expected 1 … {_MOST_BLOCKS}")

            def call(*arguments: Any) -> None:
                if len(arguments) != arity:
                    raise TypeError(f"{prototype.name}() takes {arity} arguments ({len(arguments)} given): {prototype}")
                if elsewhere is not None and elsewhere(prototype.name, blocks, arguments):
                    count[0] += 1
                    return
                values = [convert(value) for convert, value in zip(converters, arguments, strict=True)]
                count[0] += 1
                _launch(prototype.name, entry, blocks, arguments, values)

            return call

        self._configured = configured

    def __getitem__(self, key: Any) -> Callable[..., None]:
        configured: Callable[..., None] = self._configured(key)
        return configured

    def __call__(self, *_: Any) -> NoReturn:
        raise TypeError(f"a kernel needs its number of blocks: name[blocks](…) for {self.prototype}")


def _launch(name: str, entry: Any, blocks: int, arguments: tuple[Any, ...], values: list[Any]) -> None:
    tensors = {n: (a.data_ptr(), a.numel() * a.element_size()) for n, a in enumerate(arguments) if isinstance(a, torch.Tensor)}
    regions = _regions(tensors.values())
    for position, (start, _) in tensors.items():
        region = next(n for n, (first, size) in enumerate(regions) if first <= start <= first + size)
        values[position] = (_SPACE | (region + 1) << 40) + start - regions[region][0]
    if len(regions) > _MOST_TENSORS:
        raise ValueError(f"{name}: {len(regions)} tensors; at most {_MOST_TENSORS}")
    given = (_Given * max(len(regions), 1))(*[_Given(*at) for at in regions])
    message = ctypes.create_string_buffer(_MESSAGE)
    _launches[0] += 1
    launch = _Launch(
        blocks, _launches[0] % 2 == 0, len(regions), ctypes.addressof(given), ctypes.addressof(message), _MESSAGE
    )
    if entry(ctypes.addressof(launch), *values):
        stop(f"{name}: {message.value.decode(errors='replace')}")


def _regions(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Start and bytes of what the tensors take, those that overlap as one, in order of the arguments."""
    found: list[tuple[int, int]] = []
    for start, size in spans:
        end = start + size
        beside = []
        for first, length in found:
            if first < end and start < first + length:
                start, end = min(first, start), max(first + length, end)
            else:
                beside.append((first, length))
        found = [*beside, (start, end - start)]
    return found

"""Bind C++ functions in a kernel's Python source: ``lib = load(cpp=r'''extern "C" void f(…) {…}''')``.

Runs beside the candidate: imports torch and the standard library. Inside a runner, libraries were built ahead and are
found by ``KERNELWRIGHT_LIBRARIES`` (JSON, source hash -> path); outside, they are compiled into the user's cache.
"""

from __future__ import annotations

import ctypes
import functools
import json
import math
import operator
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import torch

from kernelwright.evaluator.ascend_source import kernels as ascend_kernels
from kernelwright.evaluator.native_ascend import AscendLibrary
from kernelwright.evaluator.native_cuda import CudaLibrary
from kernelwright.evaluator.native_npu import NpuLaunches
from kernelwright.evaluator.prototypes import CType, Parameter, Prototype, kernel_prototypes, prototypes
from kernelwright.evaluator.symbols import exported
from kernelwright.evaluator.tensor_map import Encoded, TensorMap, held
from kernelwright.evaluator.toolchain import BuildError, build_library, npu_key, source_hash
from kernelwright.evaluator.toolchain_ascend import build_simulated
from kernelwright.evaluator.toolchain_cuda import build_cubin

__all__ = ["BuildError", "Library", "OutsideEnvelope", "calls", "load", "record", "reset_calls"]

_CTYPES: Mapping[str, Any] = {
    "bool": ctypes.c_bool,
    "int8": ctypes.c_int8,
    "uint8": ctypes.c_uint8,
    "int16": ctypes.c_int16,
    "uint16": ctypes.c_uint16,
    "int32": ctypes.c_int32,
    "uint32": ctypes.c_uint32,
    "int64": ctypes.c_int64,
    "uint64": ctypes.c_uint64,
    "float32": ctypes.c_float,
    "float64": ctypes.c_double,
}
_DTYPES: Mapping[str, tuple[str, ...]] = {
    "bool": ("bool",),
    "int8": ("int8",),
    "uint8": ("uint8", "bool", "float8_e4m3fn", "float8_e5m2"),
    "int16": ("int16",),
    "uint16": ("uint16", "float16", "bfloat16"),
    "int32": ("int32",),
    "uint32": ("uint32",),
    "int64": ("int64",),
    "uint64": ("uint64",),
    "float16": ("float16",),
    "bfloat16": ("bfloat16",),
    "float32": ("float32",),
    "float64": ("float64",),
}
"""Kind a pointer points to -> dtypes of the tensors that may be passed; two-byte floats travel as uint16_t too."""

_PLACES = {"cpu": "CPU", "cuda": "GPU", "npu": "NPU"}
_count = [0]

Watcher = Callable[[str, Prototype, tuple[Any, ...], list[Any]], None]
_watcher: list[Watcher] = []
"""At most one: told of every call of what is bound while it is here."""


class OutsideEnvelope(Exception):
    """A kernel raises this on a shape that it does not support; on a derived shape that narrows its envelope."""


def calls() -> int:
    """Native functions called so far in this process."""
    return _count[0]


def reset_calls() -> None:
    """Start counting calls from zero."""
    _count[0] = 0


def record(watcher: Watcher) -> None:
    """From now on, what :func:`load` binds tells ``watcher`` of each call before it is made.

    ``watcher(source hash, prototype, arguments, converted arguments)``. Bindings made without one cost nothing.
    """
    _watcher[:] = [watcher]


class Library:
    """The bound functions of one native source, as attributes. Unknown names list what there is."""

    def __init__(self, path: str, functions: Mapping[str, Prototype], source: str = "") -> None:
        self._path = path
        self._functions = tuple(functions)
        defined = exported(path)
        for name, prototype in functions.items():
            if name not in defined:  # the loader would find a namesake in a library that this one needs
                raise BuildError(f'{name} is not exported; is it extern "C" and outside any `#if 0`?')
            symbol = _symbol(path, name)
            watch = functools.partial(_watcher[0], source, prototype) if _watcher else None
            setattr(self, name, _bind(symbol, prototype, watch))

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"the library has no function {name!r}; it has: {', '.join(self._functions)}")

    def __repr__(self) -> str:
        return f"<native library with {', '.join(self._functions)}>"


def _symbol(path: str, name: str) -> Any:
    """A function of a shared library. Here alone libraries are opened: strings come in, and nothing of a kernel's is called."""
    if type(path) is not str or type(name) is not str:
        raise TypeError("a path and a name are strings")
    return ctypes.CDLL(path)[name]


def load(*, cpp: str = "", cuda: str = "", ascend: str = "") -> Any:
    """Build (outside a runner) and bind the ``extern "C"`` functions of ``cpp``, or the kernels of ``cuda`` or ``ascend``.

    CUDA kernels are launched as ``lib.name[grid, block, shared](…)`` on torch's current stream, with tensors on the GPU;
    Ascend C kernels as ``lib.name[blocks](…)`` in the simulator, with tensors on the CPU; outside a runner and where CANN is
    also with tensors on an NPU, on torch's current stream (:mod:`.native_npu`, which was never run).

    Tensors are passed as pointers: contiguous, on the CPU, dtype equal to the pointer's type; ``None`` is null.
    Numbers are converted by the prototype. Violations raise TypeError (OverflowError out of range) naming the argument.

    Raises:
        BuildError: the source does not compile, has a type that cannot be bound, or (in a runner) was not built ahead.
    """
    if sum(map(bool, (cpp, cuda, ascend))) > 1:
        raise BuildError("load() takes one source: cpp=…, cuda=… or ascend=…")
    if cuda:
        return _load_cuda(cuda)
    if ascend:
        return _load_ascend(ascend)
    if not isinstance(cpp, str) or not cpp.strip():
        raise BuildError("load() got no source; pass it as load(cpp=r'''extern \"C\" …''')")
    functions = prototypes(cpp)
    ahead = os.environ.get("KERNELWRIGHT_LIBRARIES")
    if ahead is None:
        return Library(build_library(cpp, _cache()).path, functions, source_hash(cpp))
    path = json.loads(ahead).get(source_hash(cpp))
    if path is None:
        raise BuildError("the source of load(cpp=…) must be a literal string so that the harness can build it ahead")
    return Library(path, functions, source_hash(cpp))


def _load_cuda(source: str) -> CudaLibrary:
    """The kernels of a CUDA source; compiled here only outside a runner. No device is needed before the first launch."""
    functions = kernel_prototypes(source)
    return cuda_library(source, functions, source_hash(source), "the source of load(cuda=…) must be a literal string")


def cuda_library(
    source: str, functions: Mapping[str, Prototype], key: str, otherwise: str, relaxed: bool = False
) -> CudaLibrary:
    """The kernels ``functions`` of a CUDA source: of what was built ahead under ``key``, outside a runner compiled here.

    Raises:
        BuildError: in a runner, nothing was built for ``key``: ``otherwise``.
    """
    ahead = os.environ.get("KERNELWRIGHT_LIBRARIES")
    path = build_cubin(source, _cache(), relaxed=relaxed).path if ahead is None else json.loads(ahead).get(key)
    if path is None:
        raise BuildError(f"{otherwise} so that the harness can build it ahead")
    return CudaLibrary(path, functions, *_launched(functions, "cuda"), _count)


def _load_ascend(source: str) -> AscendLibrary:
    """The kernels of an Ascend C source, in the simulator or on an NPU; compiled here only outside a runner."""
    functions = ascend_kernels(source)
    ahead = os.environ.get("KERNELWRIGHT_LIBRARIES")
    if ahead is None:
        npu: NpuLaunches | None = NpuLaunches(source, functions, *_launched(functions, "npu"), _symbol, _cache())
        path: str | None = build_simulated(source, _cache()).path
    else:
        built = json.loads(ahead)
        path, there = built.get(source_hash(source)), built.get(npu_key(source))
        npu = NpuLaunches(source, functions, *_launched(functions, "npu"), _symbol, str(there)) if there else None
    if path is None:
        raise BuildError("the source of load(ascend=…) must be a literal string so that the harness can build it ahead")
    return AscendLibrary(path, functions, *_launched(functions, "cpu"), _symbol, _count, npu)


def _launched(functions: Mapping[str, Prototype], device: str) -> tuple[dict[str, tuple[Any, ...]], dict[str, tuple[Any, ...]]]:
    """Converters and ctypes types of each kernel's arguments, by name."""
    converters = {n: tuple(_converter(p, n, device) for p in f.parameters) for n, f in functions.items()}
    storage = {
        n: tuple(ctypes.c_void_p if p.type.pointer else _CTYPES.get(p.type.kind, held) for p in f.parameters)
        for n, f in functions.items()
    }
    return converters, storage


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "kernelwright" / "native"


def _bind(symbol: Any, prototype: Prototype, watch: Callable[..., None] | None = None) -> Callable[..., Any]:
    """A Python function that converts its arguments by ``prototype`` and calls ``symbol`` without the GIL."""
    symbol.argtypes = [ctypes.c_void_p if p.type.pointer else _CTYPES[p.type.kind] for p in prototype.parameters]
    symbol.restype = None if prototype.result.kind == "void" else _CTYPES[prototype.result.kind]
    converters = tuple(_converter(p, prototype.name) for p in prototype.parameters)
    arity, count = len(converters), _count

    def call(*arguments: Any) -> Any:
        if len(arguments) != arity:
            raise TypeError(f"{prototype.name}() takes {arity} arguments ({len(arguments)} given): {prototype}")
        converted = [convert(value) for convert, value in zip(converters, arguments, strict=True)]
        count[0] += 1
        return symbol(*converted)

    def watched(*arguments: Any) -> Any:
        if len(arguments) == arity and watch is not None:
            watch(arguments, [convert(value) for convert, value in zip(converters, arguments, strict=True)])
        return call(*arguments)

    if watch is not None:
        watched.__name__ = watched.__qualname__ = prototype.name
        return watched
    call.__name__ = call.__qualname__ = prototype.name
    call.__doc__ = str(prototype)
    return call


def _converter(parameter: Parameter, function: str, device: str = "cpu") -> Callable[[Any], Any]:
    where = f"{function}(): argument {parameter.name!r}"
    if parameter.type.pointer:
        return _tensor_converter(parameter.type, where, device)
    if parameter.type.kind in ("float32", "float64"):
        return _float_converter(parameter.type, where)
    if parameter.type.kind == "tensor_map":
        return functools.partial(_map_converter, where)
    return _int_converter(parameter.type, where)


def _tensor_converter(kind: CType, where: str, device: str) -> Callable[[Any], int | None]:
    dtypes = frozenset(getattr(torch, name) for name in _DTYPES.get(kind.kind, ()) if hasattr(torch, name))
    any_dtype = kind.kind == "void"

    def convert(value: Any) -> int | None:
        if value is None:
            return None
        if not isinstance(value, torch.Tensor):
            raise TypeError(f"{where} is {kind} and takes a tensor or None, not {type(value).__name__}")
        if not any_dtype and value.dtype not in dtypes:
            wanted = " or ".join(sorted(str(d) for d in dtypes))
            raise TypeError(f"{where} is {kind} and takes a tensor of {wanted}, not {value.dtype}")
        if value.device.type != device:
            raise TypeError(f"{where} must be on the {_PLACES[device]}, not on {value.device}")
        if not value.is_contiguous():
            raise TypeError(f"{where} must be contiguous, its strides are {tuple(value.stride())}; call .contiguous()")
        return value.data_ptr()

    return convert


def _map_converter(where: str, value: Any) -> Encoded:
    if not isinstance(value, TensorMap):
        raise TypeError(f"{where} takes what lib.tensor_map(tensor, box) gives, not {type(value).__name__}")
    return value.encoded


def _int_converter(kind: CType, where: str) -> Callable[[Any], int]:
    bits = 1 if kind.kind == "bool" else int(kind.kind.lstrip("uint"))
    unsigned = kind.kind.startswith("u") or kind.kind == "bool"
    low, high = (0, 2**bits - 1) if unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)

    def convert(value: Any) -> int:
        if type(value) is not int:
            value = _index(value, kind, where)
        if not low <= value <= high:
            raise OverflowError(f"{where} is {kind}: {value} is outside {low} … {high}")
        return int(value)

    return convert


def _index(value: Any, kind: CType, where: str) -> int:
    if isinstance(value, torch.Tensor):
        raise TypeError(f"{where} is {kind} and takes a number, not a tensor; call .item()")
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{where} is {kind} and takes an integer, not {type(value).__name__}") from None


def _float_converter(kind: CType, where: str) -> Callable[[Any], float]:
    limit = torch.finfo(torch.float32).max if kind.kind == "float32" else math.inf

    def convert(value: Any) -> float:
        if type(value) is not float:
            if isinstance(value, torch.Tensor):
                raise TypeError(f"{where} is {kind} and takes a number, not a tensor; call .item()")
            try:
                value = float(operator.index(value)) if not hasattr(value, "__float__") else float(value)
            except (TypeError, ValueError):
                raise TypeError(f"{where} is {kind} and takes a number, not {type(value).__name__}") from None
        if abs(value) > limit and math.isfinite(value):
            raise OverflowError(f"{where} is {kind}: {value} is outside its range")
        return float(value)

    return convert

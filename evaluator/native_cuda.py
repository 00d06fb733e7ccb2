"""Launch the kernels of a cubin on torch's current stream: ``lib.name[grid, block, shared](…)``.

Imports torch and the standard library.

Bound kernels keep their driver functions to themselves: what a caller gives is a grid and typed arguments, nothing else.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch

from kernelwright.evaluator.prototypes import Prototype
from kernelwright.evaluator.tensor_map import TensorMap, tensor_map
from kernelwright.evaluator.toolchain import BuildError

_DYNAMIC_SHARED_ATTRIBUTE = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
_MAX_GRID = (2**31 - 1, 65535, 65535)
_MAX_BLOCK = (1024, 1024, 64)
_MAX_THREADS = 1024

Convert = Callable[[Any], Any]
Launch = Callable[[tuple[int, int, int], tuple[int, int, int], int, list[Any]], None]


class CudaLibrary:
    """The kernels of one CUDA source, as attributes. Unknown names list what there is.

    Args:
        path: the cubin; loaded into the current context at the first launch, so binding needs no device.
        functions: prototype of each kernel, by name.
        converters: of each kernel's arguments, by name.
        storage: ctypes type of each argument, by name.
        count: ``count[0]`` is raised at each launch.
    """

    def __init__(
        self,
        path: str,
        functions: Mapping[str, Prototype],
        converters: Mapping[str, tuple[Convert, ...]],
        storage: Mapping[str, tuple[Any, ...]],
        count: list[int],
    ) -> None:
        self._functions = tuple(functions)
        modules = _modules(path)
        for name, prototype in functions.items():
            if hasattr(type(self), name):
                raise BuildError(f"a kernel may not be called {name}: the library has something else of that name")
            launch = _launcher(modules, name, storage[name], count)
            setattr(self, name, CudaKernel(prototype, converters[name], launch))

    def tensor_map(
        self, tensor: torch.Tensor, box: Sequence[int], *, swizzle: int = 0, l2_promotion: int = 0, fill: str = "zeros"
    ) -> TensorMap:
        """See :func:`~kernelwright.evaluator.tensor_map.tensor_map`."""
        return tensor_map(_encode, tensor, box, swizzle, l2_promotion, fill)

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"the library has no kernel {name!r}; it has: {', '.join(self._functions)}")

    def __repr__(self) -> str:
        return f"<CUDA library with {', '.join(self._functions)}>"


class CudaKernel:
    """A kernel that wants a grid: ``kernel[grid, block]`` or ``kernel[grid, block, shared]``, then its arguments.

    ``grid`` and ``block``: an int or up to three; ``shared``: bytes of dynamic shared memory.
    """

    __slots__ = ("_configured", "prototype")

    def __init__(self, prototype: Prototype, converters: tuple[Convert, ...], launch: Launch) -> None:
        self.prototype = str(prototype)
        arity = len(converters)

        def configured(key: Any) -> Callable[..., None]:
            grid, block, shared = _shape(prototype.name, key)

            def call(*arguments: Any) -> None:
                if len(arguments) != arity:
                    raise TypeError(f"{prototype.name}() takes {arity} arguments ({len(arguments)} given): {prototype}")
                launch(grid, block, shared, [convert(a) for convert, a in zip(converters, arguments, strict=True)])

            return call

        self._configured = configured

    def __getitem__(self, key: Any) -> Callable[..., None]:
        configured: Callable[..., None] = self._configured(key)
        return configured

    def __call__(self, *_: Any) -> NoReturn:
        raise TypeError(f"a kernel needs its grid and block: name[grid, block](…) for {self.prototype}")


def _shape(name: str, key: Any) -> tuple[tuple[int, int, int], tuple[int, int, int], int]:
    if not isinstance(key, tuple) or len(key) not in (2, 3):
        raise TypeError(f"{name}[grid, block] or {name}[grid, block, shared bytes], not {name}[{key!r:.60}]")
    grid = _three(name, "grid", key[0], _MAX_GRID)
    block = _three(name, "block", key[1], _MAX_BLOCK)
    shared = operator.index(key[2]) if len(key) == 3 else 0
    if block[0] * block[1] * block[2] > _MAX_THREADS:
        raise ValueError(f"{name}: block {block} has more than {_MAX_THREADS} threads")
    if not 0 <= shared < 1 << 31:
        raise ValueError(f"{name}: {shared} bytes of shared memory; expected 0 or more")
    return grid, block, shared


def _three(name: str, what: str, given: Any, limits: tuple[int, int, int]) -> tuple[int, int, int]:
    parts = tuple(given) if isinstance(given, (tuple, list)) else (given,)
    if not 1 <= len(parts) <= 3:
        raise TypeError(f"{name}: {what} takes one to three integers, not {given!r:.60}")
    x, y, z = (*map(operator.index, parts), 1, 1)[:3]
    if not all(1 <= value <= limit for value, limit in zip((x, y, z), limits, strict=True)):
        raise ValueError(f"{name}: {what} {(x, y, z)} is outside 1 … {limits}")
    return x, y, z


def _modules(path: str) -> Callable[[str], Any]:
    """A function that gives a kernel's handle, loading the cubin once a device."""
    loaded: dict[int, Any] = {}

    @functools.cache
    def handle(name: str, device: int) -> Any:
        driver = _driver()
        if device not in loaded:
            module = ctypes.c_void_p()
            _check(driver, driver.cuModuleLoadData(ctypes.byref(module), _image(path)), "loading the cubin")
            loaded[device] = module
        function = ctypes.c_void_p()
        _check(driver, driver.cuModuleGetFunction(ctypes.byref(function), loaded[device], name.encode()), name)
        return function

    return lambda name: handle(name, torch.cuda.current_device())


def _image(path: str) -> bytes:
    """A cubin's bytes. Here alone files are read."""
    if type(path) is not str:
        raise TypeError("a path is a string")
    return Path(path).read_bytes()


def _launcher(modules: Callable[[str], Any], name: str, storage: tuple[Any, ...], count: list[int]) -> Launch:
    allowed: dict[int, int] = {}
    """Dynamic shared memory that was asked for, by function handle."""

    def launch(grid: tuple[int, int, int], block: tuple[int, int, int], shared: int, arguments: list[Any]) -> None:
        stream = torch.cuda.current_stream().cuda_stream  # makes torch's context current too
        driver, function = _driver(), modules(name)
        if shared > allowed.get(function.value, 0):  # 48 KiB come unasked, less what is static
            code = driver.cuFuncSetAttribute(function, _DYNAMIC_SHARED_ATTRIBUTE, shared)
            _check(driver, code, f"{name}: {shared} bytes of dynamic shared memory")
            allowed[function.value] = shared
        values = [kind(value) for kind, value in zip(storage, arguments, strict=True)]
        pointers = (ctypes.c_void_p * max(len(values), 1))(*[ctypes.addressof(value) for value in values])
        code = driver.cuLaunchKernel(function, *grid, *block, shared, ctypes.c_void_p(stream), pointers, None)
        _check(driver, code, f"launching {name} with grid {grid}, block {block} and {shared} bytes of shared memory")
        count[0] += 1

    return launch


@functools.cache
def _driver() -> Any:
    """NVIDIA's driver. Here alone a library is opened; every function that is called is looked up here too."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise BuildError(f"CUDA kernels need NVIDIA's driver to run: {error}") from None
    unsigned, pointer = ctypes.c_uint, ctypes.c_void_p
    driver.cuModuleLoadData.argtypes = [ctypes.POINTER(pointer), ctypes.c_char_p]
    driver.cuModuleGetFunction.argtypes = [ctypes.POINTER(pointer), pointer, ctypes.c_char_p]
    driver.cuFuncSetAttribute.argtypes = [pointer, ctypes.c_int, ctypes.c_int]
    driver.cuLaunchKernel.argtypes = [pointer, *[unsigned] * 7, pointer, ctypes.POINTER(pointer), pointer]
    driver.cuGetErrorString.argtypes = [ctypes.c_int, ctypes.POINTER(ctypes.c_char_p)]
    with contextlib.suppress(AttributeError):  # since CUDA 12
        number = ctypes.c_int
        driver.cuTensorMapEncodeTiled.argtypes = [pointer, number, unsigned, *[pointer] * 5, *[number] * 4]
    return driver


def _encode(*arguments: Any) -> None:
    """Fill a tensor map."""
    driver = _driver()
    function = vars(driver).get("cuTensorMapEncodeTiled")
    if function is None:
        raise RuntimeError("tensor_map(): this driver has no tensor maps; they need CUDA 12 and Hopper")
    _check(driver, function(*arguments), "encoding a tensor map")


def _check(driver: Any, code: int, what: str) -> None:
    if code:
        text = ctypes.c_char_p()
        driver.cuGetErrorString(code, ctypes.byref(text))
        raise RuntimeError(f"CUDA error {code} in {what}: {(text.value or b'unknown').decode()}")

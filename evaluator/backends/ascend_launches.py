"""Launch Triton-Ascend kernels by their host libraries, in place of Triton. Runs beside the candidate.

A launch is told by its specialisation: function, types of the arguments, constants. One that has no library yet is not run:
the runner's answer says what is wanted, the judge compiles it, hands the library over and asks the same again.
"""

from __future__ import annotations

import ctypes
import functools
import math
import sys
import types
from collections.abc import Mapping
from typing import Any, NoReturn

import torch

from kernelwright.evaluator import native_ascend
from kernelwright.evaluator.ascend_environment import key_of
from kernelwright.evaluator.native import _symbol

_MOST_PROGRAMS = 65535
"""Of one launch; the vendor's own limit."""
_MESSAGE = 1024
_POINTERS = {
    torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16", torch.int8: "i8", torch.int16: "i16",
    torch.int32: "i32", torch.int64: "i64", torch.uint8: "u8", torch.bool: "i1",
}  # fmt: skip
_IGNORED = frozenset({"num_warps", "num_stages", "num_ctas", "maxnreg", "enable_fp_fusion", "debug"})
"""Options of a GPU: the vendor's compiler takes them and does nothing with them."""
_OPTIONS = frozenset({"multibuffer"})


class NotCompiled(RuntimeError):
    """A launch waits for its library."""


class _Span(ctypes.Structure):
    _fields_ = [("start", ctypes.c_void_p), ("bytes", ctypes.c_int64), ("name", ctypes.c_char_p)]  # noqa: RUF012 - ctypes reads it so


class _Argument(ctypes.Structure):
    _fields_ = [  # noqa: RUF012
        ("pointer", ctypes.c_void_p),
        ("elements", ctypes.c_int64),
        ("integer", ctypes.c_int64),
        ("real", ctypes.c_double),
    ]


class _Launch(ctypes.Structure):
    _fields_ = [  # noqa: RUF012
        ("grid", ctypes.c_int64 * 3),
        ("backwards", ctypes.c_int64),
        ("compare", ctypes.c_int64),
        ("spans", ctypes.c_int64),
        ("span", ctypes.c_void_p),
        ("argument", ctypes.c_void_p),
        ("message", ctypes.c_void_p),
        ("capacity", ctypes.c_int64),
    ]


class Launches:
    """What one process has of libraries, and what it waits for."""

    def __init__(self) -> None:
        self.count = 0
        self.uncompared = ""
        """Why some launches were not looked through for races; empty while all were."""
        self._ours: Any = None
        self._entries: dict[str, tuple[Any, bool]] = {}
        self._wanted: dict[str, dict[str, Any]] = {}

    def install(self) -> None:
        """Take the place of Triton's launches. Call once, before a kernel's source is executed."""
        from triton.runtime import driver
        from triton.runtime.jit import JITFunction

        from kernelwright.evaluator.backends.triton_driver import StandInDriver

        launch = self._launch

        def run(self: Any, *arguments: Any, grid: Any, warmup: bool = False, **named: Any) -> None:
            launch(self, arguments, named, None if warmup else grid)

        _know_libdevice()
        JITFunction.run = self._ours = run
        driver.set_active(StandInDriver())

    def replaced(self) -> list[str]:
        """What stands where launches were sent here, if something else does."""
        from triton.runtime.jit import JITFunction

        return [] if vars(JITFunction).get("run") is self._ours else ["triton.runtime.jit.JITFunction.run"]

    def provide(self, key: str, path: str, compare: bool) -> None:
        """The library of a specialisation. ``compare``: its programs' accesses are compared."""
        entry = _symbol(path, "kw_run")
        entry.argtypes = [ctypes.c_void_p]
        entry.restype = ctypes.c_int
        self._entries[key] = (entry, compare)

    def wanted(self) -> list[dict[str, Any]]:
        """Specialisations that were launched without a library since this was last asked."""
        found, self._wanted = list(self._wanted.values()), {}
        return found

    def _launch(self, function: Any, arguments: tuple[Any, ...], named: dict[str, Any], grid: Any) -> None:
        for hook in function.pre_run_hooks:
            hook(*arguments, **named)
        bound, options = _bind(function, arguments, named)
        if grid is None:
            return
        size = _grid(grid, bound)
        signature, constants = _specialise(function, bound)
        spec = {"function": function.fn.__name__, "signature": signature, "constants": constants, "options": options}
        key = key_of(spec)
        if key not in self._entries:
            self._wanted[key] = spec
            raise NotCompiled(f"{spec['function']} has no library for {signature}, {constants} yet")
        self.count += 1
        if all(size):
            self._run(spec["function"], key, size, {name: bound[name] for name in signature})

    def _run(self, name: str, key: str, size: tuple[int, int, int], given: Mapping[str, Any]) -> None:
        entry, compare = self._entries[key]
        if not compare:
            self.uncompared = f"{name} has atomics: its programs are run forwards and backwards, and not compared"
        spans = _spans(given)
        message = ctypes.create_string_buffer(_MESSAGE)
        rows = (_Argument * max(len(given), 1))(*map(_argument, given.values()))
        known = (_Span * max(len(spans), 1))(*[_Span(start, length, who.encode()) for start, length, who in spans])
        launch = _Launch(
            (ctypes.c_int64 * 3)(*size), self.count % 2 == 0, compare, len(spans),
            ctypes.addressof(known), ctypes.addressof(rows), ctypes.addressof(message), _MESSAGE,
        )  # fmt: skip
        if entry(ctypes.addressof(launch)):
            native_ascend.stop(f"{name}: {message.value.decode(errors='replace')}")


def _know_libdevice() -> None:
    """The vendor's Triton has functions in a module that this one lacks. Here they are but named: nothing calls them."""
    import triton.language.extra as parent

    if "triton.language.extra.ascend" in sys.modules:
        return
    package, functions = (types.ModuleType(f"triton.language.extra.{name}") for name in ("ascend", "ascend.libdevice"))
    package.__path__ = []
    package.libdevice = functions  # type: ignore[attr-defined]
    functions.__getattr__ = _named  # type: ignore[method-assign]
    parent.ascend = package
    sys.modules |= {module.__name__: module for module in (package, functions)}


def _named(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)

    def in_a_kernel_only(*_: Any) -> NoReturn:
        raise RuntimeError(f"libdevice.{name} is called in a @triton.jit function only")

    return in_a_kernel_only


def _bind(function: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arguments by name, and the options among the keywords that the compiler is told."""
    names = {parameter.name for parameter in function.params}
    extra = {key: value for key, value in named.items() if key not in names}
    unknown = sorted(set(extra) - _IGNORED - _OPTIONS)
    if unknown:
        raise TypeError(f"{function.fn.__name__}: the option {unknown[0]!r} is not one of {', '.join(sorted(_OPTIONS))}")
    bound = function.signature.bind(*arguments, **{key: value for key, value in named.items() if key in names})
    bound.apply_defaults()
    return dict(bound.arguments), {key: bool(extra[key]) for key in sorted(_OPTIONS & set(extra))}


def _grid(grid: Any, bound: Mapping[str, Any]) -> tuple[int, int, int]:
    chosen = grid(bound) if callable(grid) else grid
    sizes = [int(part) for part in (chosen if isinstance(chosen, (tuple, list)) else (chosen,))]
    if not 1 <= len(sizes) <= 3 or any(part < 0 for part in sizes):
        raise ValueError(f"a grid has 1 to 3 sizes, not {chosen!r}")
    sizes += [1] * (3 - len(sizes))
    if math.prod(sizes) > _MOST_PROGRAMS:
        raise ValueError(f"a grid of {math.prod(sizes)} programs; the NPU's launcher takes at most {_MOST_PROGRAMS}")
    return sizes[0], sizes[1], sizes[2]


def _specialise(function: Any, bound: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, Any]]:
    """Types of the run-time arguments, and constants: as Triton does it, 1 and None are constants too."""
    signature: dict[str, str] = {}
    constants: dict[str, Any] = {}
    for parameter in function.params:
        value = bound[parameter.name]
        if parameter.is_constexpr or value is None:
            constants[parameter.name] = _constant(parameter.name, value)
        elif type(value) is int and value == 1 and not parameter.do_not_specialize:
            constants[parameter.name] = 1
        else:
            signature[parameter.name] = _type(parameter.name, value)
    return signature, constants


def _constant(name: str, value: Any) -> Any:
    value = getattr(value, "value", value) if type(value).__name__ == "constexpr" else value
    if type(value) is float and not math.isfinite(value):
        return {"float": str(value)}
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value).__name__ == "dtype" and type(value).__module__.startswith("triton"):
        return {"dtype": str(value.name if hasattr(value, "name") else value)}
    raise TypeError(
        f"the constant {name!r} is a {type(value).__name__}; numbers, strings, None and Triton's types can be passed"
    )


def _type(name: str, value: Any) -> str:
    if isinstance(value, torch.Tensor):
        if value.dtype not in _POINTERS or value.device.type != "cpu":
            raise TypeError(f"{name!r}: a tensor of {value.dtype} on {value.device} cannot be passed here")
        return f"*{_POINTERS[value.dtype]}"
    if type(value) is bool:
        return "i1"
    if type(value) is float:
        return "fp32"
    if type(value) is int:
        if not -(1 << 63) <= value < 1 << 64:
            raise OverflowError(f"{name!r}: {value} is outside 64 bits")
        return "i32" if -(1 << 31) <= value < 1 << 31 else "i64" if value < 1 << 63 else "u64"
    raise TypeError(f"{name!r}: a {type(value).__name__} cannot be passed to a kernel; tensors and numbers can")


def _argument(value: Any) -> _Argument:
    if isinstance(value, torch.Tensor):
        storage = value.untyped_storage()
        left = storage.data_ptr() + storage.nbytes() - value.data_ptr()
        return _Argument(value.data_ptr(), max(left, 0) // value.element_size(), 0, 0.0)
    return _Argument(None, 0, _wrapped(int(value)) if type(value) is not float else 0, float(value))


def _wrapped(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _spans(given: Mapping[str, Any]) -> list[tuple[int, int, str]]:
    """Start, bytes and an argument's name of the storages of a launch, those that overlap as one."""
    found: list[tuple[int, int, str]] = []
    for name, value in given.items():
        if not isinstance(value, torch.Tensor) or not value.untyped_storage().nbytes():
            continue
        start = value.untyped_storage().data_ptr()
        end = start + value.untyped_storage().nbytes()
        beside = []
        for first, length, who in found:
            if first < end and start < first + length:
                start, end = min(first, start), max(first + length, end)
                name = who
            else:
                beside.append((first, length, who))
        found = [*beside, (start, end - start, name)]
    return found


@functools.cache
def uses_triton(source: str) -> bool:
    """Whether a kernel's source has jitted functions."""
    from kernelwright.evaluator.backends.triton import jit_functions

    return bool(jit_functions(source))

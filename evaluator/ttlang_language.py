"""The language as kernels see it: ``ttl`` without the simulator behind it, each of its operations watched.

A thread of a kernel is Python of its own, in the process that simulates. So torch's operators stay forbidden there, and are
lent to the simulator while an operation of the language runs on blocks in a compute thread. What no core could do (reach the
tensor behind a block, make a block of a whole tensor) is refused. A fault that a kernel catches is a fault still.
"""

from __future__ import annotations

import math
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch._C._autograd import _enable_record_function as _record

from kernelwright.evaluator.ttlang_simulator import MODULES, ROOT

_OURS = str(Path(__file__).parent)
_ARITHMETIC = "add sub mul truediv floordiv mod pow neg abs matmul iadd radd"
_MOVES: dict[str, Sequence[str]] = {
    "ttl.sim.dfb.DataflowBuffer": ("wait", "reserve", "push_block", "pop_block"),
    "ttl.sim.copy.CopyTransaction": ("__init__", "wait"),
}
"""What threads do besides computing; watched for faults."""
_INNER = {
    "ttl.sim.dfb.Block": "__init__ __repr__ to_list to_tensor from_list from_tensor copy_as_dest get_item raw_tensor",
    "ttl.sim.ttnnsim.Tensor": "__init__ __repr__ __setitem__ to_torch",
}
"""Members that only the simulator uses, besides those whose names begin with an underscore."""
_FIELDS = {"ttl.sim.dfb.Block": "_buf", "ttl.sim.ttnnsim.Tensor": "_tensor"}
"""What holds the values."""
_GRID = 8
"""Cores a side: the grid that the simulator takes for a whole chip."""
_PLAIN = (int, float, bool, str, type(None))


class Misuse(RuntimeError):
    """Something that is not the language's: no core could do it."""


class Operation:
    """What ``@ttl.operation`` makes of a kernel's function: for ``launch``, and nothing else."""

    __slots__ = ("function", "run")

    def __init__(self, function: types.FunctionType, run: Callable[..., None]) -> None:
        self.function = function
        self.run = run

    def __call__(self, *_: Any, **__: Any) -> None:
        raise Misuse("an operation is run by launch(operation, *tensors) of kernelwright.evaluator.ttlang, never called")


class Language:
    """The language of one process.

    Args:
        lend: while this context lasts, torch's operators may compute: it is the harness or the simulator that does.
    """

    def __init__(self, lend: Callable[[], Any]) -> None:
        self.fault: Exception | None = None
        """The first thing that an operation of the language refused since :meth:`clear`."""
        self._lend = lend
        self._inside = 0
        self._block = MODULES["ttl.sim.dfb"].Block
        self._watch_classes()
        for module in ("ttl.sim.diagnostics", "ttl.sim.greenlet_scheduler"):
            MODULES[module].is_simulator_frame = is_simulators

    def clear(self) -> None:
        self.fault = None

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Torch's operators are the simulator's or the harness's own work, which neither wire nor profiler counts."""
        self._inside += 1
        try:
            with self._lend():
                _record(False)
                yield
        finally:
            self._inside -= 1
            if not self._inside:
                _record(True)

    def modules(self) -> dict[str, types.ModuleType]:
        """``ttl`` and ``ttnn`` as a kernel imports them."""
        ttl, ttnn = types.ModuleType("ttl"), types.ModuleType("ttnn")
        for module, names in (
            ("ttl.sim.copy", ("copy", "GroupTransfer")),
            ("ttl.sim.decorators", ("compute", "datamovement")),
            ("ttl.sim.dfb", ("make_dataflow_buffer_like",)),
            ("ttl.sim.nodecontext", ("node", "grid_size")),
            ("ttl.sim.pipe", ("Pipe", "PipeNet", "SrcPipeIdentity", "DstPipeIdentity")),
            ("ttl.sim.constants", ("TILE_SHAPE",)),
        ):
            for name in names:
                setattr(ttl, name, getattr(sys.modules[module], name))
        ttl.operation = self._operation  # type: ignore[attr-defined]
        ttl.math = self._namespace("ttl.math", _public(MODULES["ttl.sim.math"]))  # type: ignore[attr-defined]
        ttl.block = self._namespace("ttl.block", _public(MODULES["ttl.sim.block"]))  # type: ignore[attr-defined]
        sim = MODULES["ttl.sim.ttnnsim"]
        for name in ("Tensor", "bfloat16", "float32", "TILE_LAYOUT", "ROW_MAJOR_LAYOUT", "TILE_SIZE"):
            setattr(ttnn, name, getattr(sim, name))
        return {"ttl": ttl, "ttnn": ttnn}

    def _namespace(self, name: str, functions: dict[str, Callable[..., Any]]) -> types.ModuleType:
        made = types.ModuleType(name)
        for key, function in functions.items():
            setattr(made, key, self._computing(function))
        return made

    def _operation(self, grid: Any = "full", **options: Any) -> Callable[[types.FunctionType], Operation]:
        """``@ttl.operation``, whose grid is one that a chip has."""
        if not isinstance(grid, str):
            sides = tuple(grid)
            if not sides or min(sides) < 1 or max(sides[:2]) > _GRID or math.prod(sides) > _GRID**2:
                raise ValueError(f"grid={sides}: the chip that is simulated has {_GRID} x {_GRID} cores")
        decorate = MODULES["ttl.sim.operation"].operation(grid, **options)
        return lambda function: Operation(function, decorate(function))

    def _computing(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """An operation on blocks: for compute threads, lent torch's operators while it runs."""

        def through(*given: Any, **options: Any) -> Any:
            if self._inside:  # one operation is made of others
                return function(*given, **options)
            try:
                self._check(function.__name__, [*given, *options.values()])
                with self.aside():
                    return function(*given, **options)
            except Exception as error:
                self.fault = self.fault or error
                raise

        return _named(through, function)

    def _check(self, name: str, given: list[Any]) -> None:
        kind = MODULES["ttl.sim.context"].get_context().current_kernel_type
        if kind is not MODULES["ttl.sim.blockstate"].KernelType.COMPUTE:
            raise Misuse(f"{name} computes outside a compute thread: data movement threads only copy")
        for value in given:
            parts = value if type(value) in (tuple, list) else (value,)
            if not all(type(part) is self._block or type(part) in _PLAIN for part in parts):
                raise Misuse(f"{name} takes blocks and numbers, not {type(value).__name__}")
            for part in parts:
                if type(part) is self._block:
                    part._check_can_read()  # which the simulator does not ask before it computes

    def _moving(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def through(*given: Any, **options: Any) -> Any:
            try:
                return function(*given, **options)
            except Exception as error:
                self.fault = self.fault or error
                raise

        return _named(through, function)

    def _storing(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """``store``: only what a core may read is written."""

        def through(block: Any, items: Any) -> Any:
            if not self._inside:
                self._check("store", [items])
            return function(block, items)

        return self._moving(_named(through, function))

    def _hidden(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def through(*given: Any, **options: Any) -> Any:
            if not self._inside and not is_simulators(sys._getframe(1).f_code.co_filename):
                raise Misuse(f"{function.__name__} belongs to the simulator: no core reaches a tensor but by ttl.copy")
            return function(*given, **options)

        return _named(through, function)

    def _field(self, name: str, slot: Any) -> property:
        """A field that only the simulator reads and writes."""

        def read(owner: Any) -> Any:
            if not self._inside and not is_simulators(sys._getframe(1).f_code.co_filename):
                raise Misuse(f"{name} belongs to the simulator: no core reaches a tensor but by ttl.copy")
            return slot.__get__(owner) if slot is not None else owner.__dict__[name]

        def write(owner: Any, value: Any) -> None:
            if not self._inside and not is_simulators(sys._getframe(1).f_code.co_filename):
                raise Misuse(f"{name} belongs to the simulator: no core reaches a tensor but by ttl.copy")
            if slot is not None:
                slot.__set__(owner, value)
            else:
                owner.__dict__[name] = value

        return property(read, write)

    def _watch_classes(self) -> None:
        for owner, name in _FIELDS.items():
            setattr(_class(owner), name, self._field(name, vars(_class(owner)).get(name)))
        for owner, hidden in _INNER.items():
            for name in [*hidden.split(), *_private(_class(owner))]:
                _wrap(_class(owner), name, self._hidden)
        for owner, moves in _MOVES.items():
            for name in moves:
                _wrap(_class(owner), name, self._moving)
        _wrap(self._block, "store", self._storing)
        for word in _ARITHMETIC.split():
            _wrap(self._block, f"__{word}__", self._computing)
        _wrap(_class("ttl.sim.ttnnsim.Tensor"), "__getitem__", lambda function: self._moving(_bounded(function)))


def _bounded(function: Callable[..., Any]) -> Callable[..., Any]:
    """Part of a tensor: Python would count negative tiles from the end, and cut off what is beyond it."""

    def through(tensor: Any, key: Any) -> Any:
        keys = key if isinstance(key, tuple) else (key,)
        unit = 1 if tensor.layout is MODULES["ttl.sim.ttnnsim"].ROW_MAJOR_LAYOUT else MODULES["ttl.sim.ttnnsim"].TILE_SIZE
        last = len(tensor.shape) - 2
        for axis, (one, size) in enumerate(zip(keys, tensor.shape, strict=False)):
            extent = -(-size // unit) if axis >= last else size
            ends = (one.start, one.stop) if isinstance(one, slice) else (one, one + 1)
            low, high = (bound if end is None else end for end, bound in zip(ends, (0, extent), strict=True))
            if not 0 <= low < high <= extent:
                what = "tiles" if axis >= last and unit > 1 else "elements"
                raise IndexError(f"[{low}:{high}] of axis {axis} is out of bounds: it has {extent} {what}")
        return function(tensor, key)

    return _named(through, function)


def is_simulators(filename: str) -> bool:
    """Whether a file is the simulator's or this package's wrapping of it: no code of a kernel's."""
    return filename.startswith((ROOT, _OURS)) or "/greenlet/" in filename or "/pydantic/" in filename


def _class(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(MODULES[module], name)


def _private(owner: Any) -> list[str]:
    """The methods of a class that are no part of its interface."""
    return [
        name for name, value in vars(owner).items() if name[:1] == "_" != name[1:2] and isinstance(value, types.FunctionType)
    ]


def _wrap(owner: Any, name: str, wrapper: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Put ``wrapper`` around a method, a class method or a property, wherever it is called from."""
    found = vars(owner)[name]
    if isinstance(found, property):
        assert found.fget is not None
        setattr(owner, name, property(wrapper(found.fget)))
    elif isinstance(found, classmethod):
        setattr(owner, name, classmethod(wrapper(found.__func__)))
    else:
        setattr(owner, name, wrapper(found))


def _named(through: Callable[..., Any], function: Callable[..., Any]) -> Callable[..., Any]:
    through.__name__, through.__doc__ = function.__name__, function.__doc__
    return through


def _public(module: Any) -> dict[str, Callable[..., Any]]:
    """The functions of a module of the language that are its own."""
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_") and isinstance(value, types.FunctionType) and value.__module__ == module.__name__
    }

"""Triton launches on the CPU by what their IR says: Triton compiles each to TTIR, ``ttsem`` executes it on the CPU tensors.

Triton's interpreter computes bfloat16 wrongly. Where the package is installed, tasks with bfloat16 cases are judged so: all of
their cases, in a runner that does not interpret. What is out of bounds raises :class:`OutOfBounds`, what the semantics calls
undefined :class:`Undefined`, both with the kernel's line; once one of them was raised every later launch raises it again. Races
are told by :mod:`.triton_races`, as for interpreted launches. What ``ttsem`` does not know is :class:`NotModelled`, and the
kernel is then interpreted.

``ttsem`` 0.1.0 asks for Python 3.12 and Triton 3.8; tried with Python 3.11 and Triton 3.9 as well. Not its whole interface is
public, so the version is pinned.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch

from kernelwright.evaluator.backends.triton_driver import StandInDriver
from kernelwright.evaluator.backends.triton_memory import MAX_LANES, Launch, OutOfBounds, Seen, describe
from kernelwright.evaluator.backends.triton_races import Access, conflicts

_ARCHITECTURE = 90
"""Compute capability that the frontend is told; TTIR does not depend on it but for what a kernel asks."""
_LINE = re.compile(r'loc\((?:"[^"]*"\()?(?:callsite\()*(?:"[^"]*"\()?"[^"]+":(\d+):\d+')
_KINDS = {"r": "load", "w": "store", "s": "store", "a": "atomic"}
_POINTERS = "tt.int_to_ptr"
"""A pointer out of an integer may reach tensors that the launch was not given; the semantics sees those alone."""


class Undefined(Exception):
    """An operation of a kernel that has no defined result."""


class NotModelled(Exception):
    """The kernel uses what ``ttsem`` does not know."""


class Launches:
    """The launches of this process. Make one, and :meth:`install` it before a kernel's source is executed.

    Args:
        lent: inside it torch may compute, which a kernel may not. Memory alone is copied inside, of plain tensors: what Triton
            and ``ttsem`` ask a kernel's own objects for runs outside.
    """

    def __init__(self, lent: Callable[[], AbstractContextManager[None]] = nullcontext) -> None:
        self.count = 0
        self._lent = lent
        self._fault: Exception | None = None
        self._seen: Seen | None = None
        self._texts: dict[Any, str] = {}

    def install(self) -> None:
        """Execute every launch of this process from here on."""
        from triton.runtime import driver
        from triton.runtime.jit import JITFunction
        from ttsem import harness, mlir  # with all that they import: what a kernel finds here is watched

        assert harness.SEMANTICS_AVAILABLE
        mlir.enable_generic_printing()
        driver.set_active(StandInDriver())
        run = JITFunction.run

        @functools.wraps(run)
        def launch(function: Any, *arguments: Any, grid: Any, warmup: bool, **options: Any) -> Any:
            if warmup:
                return run(function, *arguments, grid=grid, warmup=True, **options)
            self.count += 1
            self.check()
            try:
                return self._launch(function, arguments, options, grid)
            except (OutOfBounds, Undefined, NotModelled) as fault:
                self._fault = fault
                raise

        JITFunction.run = launch

    def check(self) -> None:
        """Raise what an earlier launch raised, whatever the kernel made of it."""
        if self._fault is not None:
            raise self._fault

    @contextmanager
    def watch_races(self) -> Iterator[Seen]:
        """Compare the accesses of all programs of every launch made inside."""
        self._seen = Seen()
        try:
            yield self._seen
        finally:
            self._seen = None

    def _launch(self, function: Any, arguments: tuple[Any, ...], options: dict[str, Any], grid: Any) -> None:
        record, tensors = _recorded(function, arguments, options, grid)
        self._execute(record, self._text(record), tensors)

    def _execute(self, record: Any, text: str, tensors: Mapping[str, torch.Tensor]) -> None:
        from ttsem import harness
        from ttsem.memory import MemoryFault
        from ttsem.values import Poison

        with self._lent():
            for name, tensor in tensors.items():
                record.bases[name], record.pre[name] = harness.storage_copy(tensor)
        known = Launch.of({base: (record.pre[name].nbytes, name) for name, base in record.bases.items()})
        try:
            done = harness.execute(record, text, raise_faults=True, trace_access=self._seen is not None)
        except MemoryFault as fault:
            what = "store" if fault.kind == "write" else "load"
            outside = np.asarray(fault.addrs, dtype=np.uint64)
            raise OutOfBounds(known.complaint(_where(_operation(fault), text), what, outside)) from None
        except Poison as poison:
            raise Undefined(f"{_where(_operation(poison), text)}: {poison}") from None
        if done.failure is not None:
            raise NotModelled(f"ttsem cannot execute it: {' '.join(done.failure.message.split())[:300]}")
        if self._seen is not None:
            self._compare(done.memory, known, text, self._seen)
        written = {name: np.ascontiguousarray(done.buffer(record, name)).view(np.uint8).reshape(-1) for name in tensors}
        with self._lent():
            for name, tensor in tensors.items():
                raw = torch.from_numpy(written[name])
                torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage())[: raw.numel()].copy_(raw)

    def _text(self, record: Any) -> str:
        """The launch's TTIR in MLIR's generic form; compiled once for each specialisation."""
        from triton.backends.compiler import GPUTarget
        from ttsem import harness, mlir

        target = GPUTarget("cuda", _ARCHITECTURE, 32)
        specialised = harness._specialize(record.fn, record.args, record.kwargs, target)
        key = (record.fn, *(str(part) for part in specialised))
        if key not in self._texts:
            try:
                self._texts[key] = mlir.to_generic(harness._stage_text(record, "ttir", target))
            except mlir.NotGeneric as problem:
                raise NotModelled(f"ttsem cannot execute it: {problem}") from None
            if _POINTERS in self._texts[key]:
                raise NotModelled("it makes pointers of integers, whose tensors the semantics of ttsem does not see")
        return self._texts[key]

    @staticmethod
    def _compare(memory: Any, known: Launch, text: str, seen: Seen) -> None:
        seen.launches += 1
        if memory.access_overflow or sum(entry[3].size for entry in memory.access_log) > MAX_LANES:
            seen.unchecked = f"a launch of more than {MAX_LANES} accesses is too large to compare"
            return
        numbers: dict[Any, int] = {}
        accesses = [
            Access(
                _KINDS[kind],
                numbers.setdefault(program, len(numbers)),
                addresses.astype(np.uint64),
                width,
                None if raw is None else np.ascontiguousarray(raw).view(f"V{width}").reshape(-1),
                _where(operation, text),
            )
            for program, kind, operation, addresses, width, raw in memory.access_log
        ]
        for first, second, address in conflicts(accesses):
            place = describe(known, address)
            seen.races.append(f"{first} and {second} of another program on the same element of {place}, unordered")


def _recorded(
    function: Any, arguments: tuple[Any, ...], options: dict[str, Any], grid: Any
) -> tuple[Any, dict[str, torch.Tensor]]:
    """(the launch as ``ttsem`` has it, memory left out; its tensors by the names of the arguments that they are)."""
    from ttsem import harness

    bound = harness._bind_names(function.arg_names, arguments, options, harness._param_defaults(function))
    grid = grid(bound) if callable(grid) else grid
    harness.check_launch_grid(grid)
    leaves = {leaf: part for name, value in bound.items() for leaf, part in harness._flat_args(name, value)}
    unwrapped = {leaf: _plain(leaf, part) for leaf, part in leaves.items()}
    tensors = {leaf: part for leaf, part in unwrapped.items() if isinstance(part, torch.Tensor)}
    record = harness.LaunchRecord(
        launch_id=0,
        fn=function,
        fn_name=function.__name__,
        fn_file="",
        grid=tuple(int(size) for size in grid),
        args=arguments,
        kwargs=options,
        bound=bound,
        pre={},
        post={},
        ptrs={name: tensor.data_ptr() for name, tensor in tensors.items()},
        bases={},
        elems={name: str(leaves[name].dtype) for name in tensors if hasattr(leaves[name], "dtype")},
    )
    return record, tensors


def _plain(name: str, value: Any) -> Any:
    """The tensor behind an argument, which must be a plain one, or the argument."""
    from triton.runtime.jit import TensorWrapper
    from triton.tools.tensor_descriptor import TensorDescriptor

    if type(value) in (TensorWrapper, TensorDescriptor):
        value = value.base
    if isinstance(value, torch.Tensor) and type(value) not in (torch.Tensor, torch.nn.Parameter):
        raise NotModelled(f"the argument {name} of a launch is a {type(value).__name__}, no plain tensor")
    return value


def _operation(fault: BaseException) -> str:
    notes = [note for note in getattr(fault, "__notes__", ()) if note.startswith("while evaluating ")]
    return notes[0] if notes else ""


def _where(operation: str, text: str) -> str:
    """``kernel line 12``, by the operation's location; aliases of locations are looked up in the module."""
    found = _LINE.search(operation)
    alias = re.search(r"loc\((#loc\d*)\)\s*$", operation)
    while found is None and alias is not None:
        defined = re.search(rf"^{alias[1]} = (loc\(.*\))\s*$", text, re.MULTILINE)
        if defined is None:
            break
        found, alias = _LINE.search(defined[1]), re.search(r"\((#loc\d*)[ )]", defined[1])
    return f"kernel line {found[1]}" if found else "a kernel's line"


def install(lent: Callable[[], AbstractContextManager[None]]) -> Launches:
    """The launches of this process, executed from here on."""
    launches = Launches(lent)
    launches.install()
    return launches

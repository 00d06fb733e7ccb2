"""What a kernel may not change in its process: clocks, torch's and Triton's functions, the runner's own code, global settings.

A snapshot before the kernel's source is executed, compared after each judged call. It runs in the process that it watches:
code that rewrites this module, or changes things and puts them back in time, is not seen here. What decides in the end does
not depend on it: the judge's own clock, and outputs that the judge reads itself (on the CPU).
"""

from __future__ import annotations

import contextlib
import gc
import operator
import os
import struct
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import torch

_WATCHED = (
    "time",
    "torch.cuda",
    "torch.cuda.streams",
    "torch.cuda.graphs",
    "torch._C",
    "torch.autograd.profiler",
    "torch.profiler",
    "torch.library",
    "triton.runtime.jit",
    "triton.runtime.autotuner",
    "triton.runtime.interpreter",
    "triton.testing",
    "jax",
    "jax._src.api",
    "jax._src.array",
    "jax._src.dispatch",
    "jax._src.pjit",
    "torch_npu.npu",
    "torch_npu.npu.streams",
    "torch_npu.npu.utils",
    "gc",
    "json",
    "socket",
    "os",
)
_CLASSES = (torch.Tensor, torch.nn.Module, torch.cuda.Event, torch.cuda.Stream)
_REPLACEABLE = (
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.GetSetDescriptorType,
    type,
    staticmethod,
    classmethod,
    property,
)
_NEAR = ("time", "kernelwright.", *(f"{kind.__module__}.{kind.__name__}" for kind in _CLASSES))
"""Owners of what the runner calls between a kernel's calls, and of what counts its launches."""
_OURS = ("kernelwright.", "ttl.", "ttsem.")
"""Also the simulators that TT-Lang kernels and the IR of Triton's run in."""
_TABLED = "ttsem."
"""Whose modules look functions up in tables."""
_ENVIRONMENT_FREE = frozenset(
    {"TRITON_CACHE_DIR", "CUDA_MODULE_LOADING", "KINETO_LOG_LEVEL", "LC_CTYPE", "TORCHINDUCTOR_CACHE_DIR"}
)
"""What libraries set by themselves when they are first used."""
_TINY = 5e-324
_TURNS = 8
"""Calls after which all functions have been looked at: it takes longer than many a call."""


class Integrity:
    """A snapshot, and what differs from it."""

    def __init__(self) -> None:
        places = list(_places())
        self._near = [place for place in places if place.owner.startswith(_NEAR)]
        self._far = [place for place in places if not place.owner.startswith(_NEAR)]
        pairs = [(f"{place.owner}.{name}", was) for place in places for name, was in place.entries]
        self._coded = [(name, was) for name, was in pairs if _is_function(was)]
        self._codes = _codes(self._coded)
        self._turn = 0
        self._names = {kind: frozenset(vars(kind)) for kind in _CLASSES}
        self._tables = {name: (table, frozenset(table)) for name, table in _tables()}
        self._switches = _switches()
        self._environment = dict(os.environ)

    def broken(self, whole: bool = True) -> list[str]:
        """Names of what was changed since the snapshot.

        Not ``whole``: of what the runner itself calls, and of a part of the rest, each time another.
        """
        part = slice(None) if whole else slice(self._turn, None, _TURNS)
        self._turn = (self._turn + 1) % _TURNS
        found = [name for place in self._near for name in place.changed()]
        found += [name for place in self._far[part] for name in place.changed()] + self._recoded(part)
        for kind, names in self._names.items():
            found += [f"{kind.__module__}.{kind.__name__}.{name}" for name in frozenset(vars(kind)) - names]
        for owner, (table, keys) in self._tables.items():
            found += [f"{owner}[{key!r}]" for key in table.keys() - keys]
        switches = _switches()
        found += [name for name, was in self._switches.items() if switches[name] != was]
        now = os.environ
        variables = {*self._environment, *now} - _ENVIRONMENT_FREE
        found += [f"os.environ[{name!r}]" for name in sorted(variables) if now.get(name) != self._environment.get(name)]
        return found

    def _recoded(self, part: slice) -> list[str]:
        coded, codes = self._coded[part], self._codes[part]
        now = _codes(coded)
        if len(now) == len(codes) and all(map(operator.is_, now, codes)):
            return []
        return [name for (name, function), was in zip(coded, codes, strict=True) if function.__code__ is not was]


@dataclass(frozen=True)
class _Place:
    """A module's or a class's table: what stands there under some names."""

    owner: str
    table: Mapping[str, Any]
    names: tuple[str, ...]
    was: tuple[Any, ...]
    look: Callable[[Mapping[str, Any]], tuple[Any, ...]]
    """At all names at once: there are thousands."""

    @property
    def entries(self) -> Iterator[tuple[str, Any]]:
        return zip(self.names, self.was, strict=True)

    def changed(self) -> list[str]:
        with contextlib.suppress(KeyError):
            if all(map(operator.is_, self.look(self.table), self.was)):
                return []
        return [f"{self.owner}.{name}" for name, was in self.entries if self.table.get(name) is not was]


def _places() -> Iterator[_Place]:
    """Every function and class of what is watched: where it stands, and what stands there."""
    for module_name, module in sorted(sys.modules.items()):
        if module is None or not (module_name in _WATCHED or module_name.startswith(_OURS)):
            continue
        yield from _place(module_name, vars(module))
        if module_name.startswith(_TABLED):
            yield from _place(module_name, vars(module), dict)
        if module_name.startswith(_OURS):
            for name, value in list(vars(module).items()):
                if isinstance(value, type) and value.__module__ == module_name:
                    yield from _place(f"{module_name}.{name}", vars(value))
    for owner, table in _tables():
        yield from _place(owner, table, object)
    arrays = getattr(sys.modules.get("jax._src.array"), "ArrayImpl", None)
    for kind in (*_CLASSES, *([arrays] if isinstance(arrays, type) else [])):
        yield from _place(f"{kind.__module__}.{kind.__name__}", vars(kind))


def _tables() -> Iterator[tuple[str, dict[Any, Any]]]:
    """(name, dictionary) of those in which a simulator looks things up."""
    for module_name, module in sorted(sys.modules.items()):
        if module is not None and module_name.startswith(_TABLED):
            for name, value in list(vars(module).items()):
                if type(value) is dict and not name.startswith("__"):
                    yield f"{module_name}.{name}", value


def _place(owner: str, table: Mapping[str, Any], kinds: Any = _REPLACEABLE) -> Iterator[_Place]:
    """None where nothing is to be watched."""
    entries = {name: value for name, value in list(table.items()) if isinstance(value, kinds)}
    if entries:
        names = (*entries, next(iter(entries)))  # of one name alone no tuple would come
        yield _Place(owner, table, names, tuple(map(table.__getitem__, names)), operator.itemgetter(*names))


def _is_function(value: Any) -> TypeGuard[types.FunctionType]:
    return type(value) is types.FunctionType


def _codes(functions: Sequence[tuple[str, types.FunctionType]]) -> list[types.CodeType]:
    """The code of each. (Asked one by one for its code, each would raise an audit event.)"""
    found = gc.get_referents(*(function for _, function in functions))
    return [each for each in found if type(each) is types.CodeType]


def _switches() -> dict[str, Any]:
    """Process-wide settings by name."""
    asked: dict[str, Callable[[], Any]] = {
        "torch.backends.cuda.matmul.allow_tf32": lambda: torch.backends.cuda.matmul.allow_tf32,
        "torch.backends.cudnn.allow_tf32": lambda: torch.backends.cudnn.allow_tf32,
        "torch.backends.cudnn.enabled": lambda: torch.backends.cudnn.enabled,
        "torch.backends.cudnn.benchmark": lambda: torch.backends.cudnn.benchmark,
        "torch.float32_matmul_precision": torch.get_float32_matmul_precision,
        "torch.default_dtype": torch.get_default_dtype,
        "torch.num_threads": torch.get_num_threads,
        "torch.deterministic": torch.are_deterministic_algorithms_enabled,
        "torch.mkldnn": lambda: torch.backends.mkldnn.enabled,
        "the treatment of denormals": lambda: struct.pack("d", _TINY * 1.0),
        "sys.settrace": sys.gettrace,
        "sys.setprofile": sys.getprofile,
        "threading.settrace": threading.gettrace,
        "the garbage collector": gc.isenabled,
        "time.perf_counter": lambda: id(time.perf_counter),
    }
    return {name: ask() for name, ask in asked.items()}

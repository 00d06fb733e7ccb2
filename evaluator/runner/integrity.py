"""What a kernel may not change in its process: clocks, torch's and Triton's functions, the runner's own code, global settings.

A snapshot before the kernel's source is executed, compared after each judged call. It runs in the process that it watches:
code that rewrites this module, or changes things and puts them back in time, is not seen here. What decides in the end does
not depend on it: the judge's own clock, and outputs that the judge reads itself (on the CPU).
"""

from __future__ import annotations

import gc
import os
import struct
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

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
_OURS = "kernelwright."
_ENVIRONMENT_FREE = frozenset(
    {"TRITON_CACHE_DIR", "CUDA_MODULE_LOADING", "KINETO_LOG_LEVEL", "LC_CTYPE", "TORCHINDUCTOR_CACHE_DIR"}
)
"""What libraries set by themselves when they are first used."""
_TINY = 5e-324


class Integrity:
    """A snapshot, and what differs from it."""

    def __init__(self) -> None:
        self._functions = dict(_functions())
        self._names = {kind: frozenset(vars(kind)) for kind in _CLASSES}
        self._switches = _switches()
        self._environment = dict(os.environ)

    def broken(self) -> list[str]:
        """Names of what was changed since the snapshot."""
        found = [name for name, place in self._functions.items() if _changed(place)]
        for kind, names in self._names.items():
            found += [f"{kind.__module__}.{kind.__name__}.{name}" for name in frozenset(vars(kind)) - names]
        switches = _switches()
        found += [name for name, was in self._switches.items() if switches[name] != was]
        now = os.environ
        variables = {*self._environment, *now} - _ENVIRONMENT_FREE
        found += [f"os.environ[{name!r}]" for name in sorted(variables) if now.get(name) != self._environment.get(name)]
        return found


_Place = tuple[Mapping[str, Any], str, Any, Any]
"""Table, name, what stands there, and its code if it is a function's."""


def _functions() -> Iterator[tuple[str, _Place]]:
    """Every function and class of what is watched: where it stands, and what stands there."""
    for module_name, module in sorted(sys.modules.items()):
        if module is None or not (module_name in _WATCHED or module_name.startswith(_OURS)):
            continue
        yield from _entries(module_name, vars(module))
        if module_name.startswith(_OURS):
            for name, value in list(vars(module).items()):
                if isinstance(value, type) and value.__module__ == module_name:
                    yield from _entries(f"{module_name}.{name}", vars(value))
    for kind in _CLASSES:
        yield from _entries(f"{kind.__module__}.{kind.__name__}", vars(kind))


def _entries(owner: str, table: Mapping[str, Any]) -> Iterator[tuple[str, _Place]]:
    for name, value in list(table.items()):
        if isinstance(value, _REPLACEABLE):
            yield f"{owner}.{name}", (table, name, value, getattr(value, "__code__", None))


def _changed(place: _Place) -> bool:
    """Whether something else stands there now. Thousands of times a judged call: so no more than two look-ups."""
    table, name, value, code = place
    now: Any = table.get(name)
    return now is not value or (code is not None and now.__code__ is not code)


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

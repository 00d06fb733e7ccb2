"""``load_inline`` where a kernel calls it: the module with its host functions, which launch the kernels that were compiled.

Imports torch and the standard library. Host functions are Python (:mod:`~kernelwright.evaluator.inline.program`): they can do
what the kernel's own Python can, and no more; their launches go through the launcher of ``load(cuda=…)``, which counts them.
"""

from __future__ import annotations

import math
import operator
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import torch

from kernelwright.evaluator.inline import kit
from kernelwright.evaluator.inline.kinds import BITS, Type
from kernelwright.evaluator.inline.program import Program, program
from kernelwright.evaluator.inline.source import PARAMETERS, READ, inline_source
from kernelwright.evaluator.inline.translate import Signature
from kernelwright.evaluator.native import cuda_library
from kernelwright.evaluator.toolchain import BuildError

EXTENSION = "torch.utils.cpp_extension"


class InlineModule:
    """What ``load_inline`` gives: its functions as attributes. Unknown names list what there is."""

    def __init__(self, functions: Mapping[str, Callable[..., Any]]) -> None:
        self._functions = tuple(functions)
        for name, function in functions.items():
            setattr(self, name, function)

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"the module has no function {name!r}; it has: {', '.join(self._functions)}")

    def __repr__(self) -> str:
        return f"<load_inline module with {', '.join(self._functions)}>"


def load_inline(*arguments: Any, **keywords: Any) -> InlineModule:
    """The module of a call of torch's function of that name, with the kernels of what was built ahead.

    Raises:
        BuildError: it was not built ahead, or is wrong. TypeError: arguments that torch's function does not take.
    """
    if len(arguments) > len(PARAMETERS) or not set(keywords) <= set(PARAMETERS):
        raise TypeError(f"load_inline() takes {', '.join(PARAMETERS)}; got {len(arguments)} arguments and {sorted(keywords)}")
    given = dict(zip(PARAMETERS, arguments, strict=False)) | keywords
    source = inline_source({name: given.get(name) for name in READ})
    made = program(source)
    otherwise = "what load_inline(…) is given must be literals"
    return InlineModule(functions_of(made, cuda_library(made.device, made.entries, source.hash, otherwise, relaxed=True)))


def functions_of(made: Program, library: Any) -> dict[str, Callable[..., Any]]:
    """The host functions of a program, launching the kernels of ``library``."""
    namespace: dict[str, Any] = {"torch": torch, "math": math, "_k": kit, "_lib": library}
    exec(compile(made.host, "<host functions of load_inline>", "exec"), namespace)
    return {name: _bound(name, signature, namespace[signature.python]) for name, signature in made.functions.items()}


def install() -> None:
    """From now on the module that torch has ``load_inline`` in is ours: building extensions is the judge's work."""
    module = types.ModuleType(EXTENSION)

    def missing(name: str) -> NoReturn:
        raise AttributeError(f"{EXTENSION} has no {name!r} for kernels; it has load_inline")

    module.__dict__.update(load_inline=load_inline, __getattr__=missing)
    sys.modules[EXTENSION] = module
    torch.utils.cpp_extension = module  # type: ignore[attr-defined]


def _bound(name: str, signature: Signature, function: Callable[..., Any]) -> Callable[..., Any]:
    """A host function as pybind11 binds it: it converts its arguments, and takes none by name."""
    takers = [_taker(kind, f"{name}(): argument {i + 1}") for i, kind in enumerate(signature.parameters)]
    most, least = len(takers), signature.required

    def call(*arguments: Any) -> Any:
        if not least <= len(arguments) <= most:
            raise TypeError(f"{name}() takes {most} arguments ({len(arguments)} given)")
        return function(*(take(value) for take, value in zip(takers, arguments, strict=False)))

    call.__name__ = call.__qualname__ = name
    return call


def _taker(kind: Type, where: str) -> Callable[[Any], Any]:
    """A converter of what Python passes for a parameter of this type."""

    def refuse(value: Any) -> NoReturn:
        raise TypeError(f"{where} is {kind} in C++; got {type(value).__name__}")

    def tensor(value: Any) -> Any:
        return value if isinstance(value, torch.Tensor) else refuse(value)

    def optional(value: Any) -> Any:
        return None if value is None else tensor(value)

    def boolean(value: Any) -> Any:
        return value if type(value) is bool else refuse(value)

    def number(value: Any) -> Any:
        if isinstance(value, torch.Tensor) or not hasattr(value, "__float__"):
            refuse(value)
        return kit.float32(value) if kind.kind == "float32" else float(value)

    def several(value: Any) -> Any:
        return list(map(each, value)) if isinstance(value, (list, tuple)) else refuse(value)

    each = _taker(Type(kind.of), where) if kind.kind == "list" else refuse
    known = {"tensor": tensor, "optional": optional, "bool": boolean, "float32": number, "float64": number, "list": several}
    if kind.kind in known:
        return known[kind.kind]
    if kind.kind in BITS:
        return _integer(kind, where)
    raise BuildError(f"{where} is {kind}: a function of the module takes tensors, numbers and lists of them")


def _integer(kind: Type, where: str) -> Callable[[Any], int]:
    def take(value: Any) -> int:
        if isinstance(value, (float, torch.Tensor)):
            raise TypeError(f"{where} is {kind} in C++; got {type(value).__name__}")
        found = operator.index(value)
        if kit.wrapped(found, BITS[kind.kind], kind.kind.startswith("u")) != found:
            raise TypeError(f"{where} is {kind} in C++; {found} is outside it")
        return found

    return take

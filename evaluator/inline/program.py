"""A whole ``load_inline``: device code for the compiler, host functions in Python, and what the module gives out."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kernelwright.evaluator.inline.expressions import Expressions
from kernelwright.evaluator.inline.parts import Parts, read
from kernelwright.evaluator.inline.source import InlineSource
from kernelwright.evaluator.inline.statements import Body
from kernelwright.evaluator.inline.tokens import Macro, tokens
from kernelwright.evaluator.inline.translate import Signature, Translation
from kernelwright.evaluator.prototypes import Prototype
from kernelwright.evaluator.toolchain import BuildError


@dataclass(frozen=True)
class Program:
    """What is made of one source."""

    device: str
    """CUDA C++ with an ``extern "C"`` entry for each launch."""
    entries: Mapping[str, Prototype]
    host: str
    """Python: the host functions. They call torch, ``_k`` (:mod:`.kit`) and the launcher, ``_lib``."""
    functions: Mapping[str, Signature]
    """What the module has, by the names that it has them by."""


@functools.lru_cache(maxsize=32)
def program(source: InlineSource) -> Program:
    """Read a source; nothing of it is executed or compiled.

    Raises:
        BuildError: it is wrong. NotModelled: it may be right, and needs what is not modelled: its name, and what to do.
    """
    try:
        made = _program(source)
        compile(made.host, "<host functions of load_inline>", "exec")  # blocks nested deeper than Python's
    except (RecursionError, SyntaxError, MemoryError) as problem:
        raise BuildError(f"load_inline: nested too deep to be read ({problem}); make it simpler") from None
    return made


def _program(source: InlineSource) -> Program:
    parts = Parts()
    read(parts, "cpp", source.cpp)
    declared = set(parts.declared) | set(parts.functions)
    read(parts, "cuda", source.cuda)
    for name, value in source.defines:
        parts.macros[name] = Macro(None, tuple(tokens(f"; {value}")[1:]))
    if not parts.kernels:
        raise BuildError("load_inline: no `__global__` function in cuda_sources")
    translation = Translation(parts, Body, Expressions)
    functions = {}
    for name, target in _given_out(source, parts, declared).items():
        functions[name] = translation.function(target, None, 0)
    if not translation.launches.prototypes:
        raise BuildError(f"load_inline: {', '.join(functions) or 'the module'} launches no kernel")
    device = translation.launches.source(source.defines)
    return Program(device, translation.launches.prototypes, "\n".join(translation.functions), functions)


def _given_out(source: InlineSource, parts: Parts, declared: set[str]) -> Mapping[str, str]:
    """Names of the module's functions -> host functions.

    Raises:
        BuildError: a name that torch's binding would not find.
    """
    if source.functions is None:
        if not parts.bound:
            raise BuildError("load_inline: neither functions=[…] nor PYBIND11_MODULE says what the module has")
        return parts.bound
    for name in source.functions:
        if name not in declared:
            raise BuildError(
                f"load_inline: {name} of functions=[…] is not declared in cpp_sources; add its declaration there, "
                f"e.g. `torch::Tensor {name}(torch::Tensor x);`"
            )
    return {name: name for name in source.functions}


def inline_evidence(source: InlineSource, made: Program) -> dict[str, Any]:
    """What a verdict says of a ``load_inline`` besides its kernels: its functions, and the flags that were left out."""
    functions = [
        f"{signature.result} {name}({', '.join(map(str, signature.parameters))})" for name, signature in made.functions.items()
    ]
    found: dict[str, Any] = {"functions": functions, "load_inline": True}
    return found | ({"flags_left_out": list(source.ignored)} if source.ignored else {})

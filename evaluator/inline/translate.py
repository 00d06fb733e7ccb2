"""Host functions of C++, typed and turned into Python. Executes nothing; what is not modelled is named.

Each function becomes one Python function for each set of template arguments. Numbers keep C++'s types: integers divide towards
zero and do not overflow unseen, ``float`` is rounded. Tensors are torch's, and operators on them go through its dispatcher.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from kernelwright.evaluator.inline import cxx
from kernelwright.evaluator.inline.grammar import Reader
from kernelwright.evaluator.inline.kinds import BITS, BOOL, Type, convert, is_int, spelled
from kernelwright.evaluator.inline.launches import Launches
from kernelwright.evaluator.inline.parts import HostFunction, Parts
from kernelwright.evaluator.inline.tokens import Token, expand, missing
from kernelwright.evaluator.inline.values import Node
from kernelwright.evaluator.toolchain import BuildError

_MOST_FUNCTIONS = 200


@dataclass(frozen=True)
class Value:
    """An expression in Python, its type, and what it is where the text alone says so."""

    python: str
    type: Type
    constant: int | float | None = None


@dataclass(frozen=True)
class Variable:
    """What a name of the source stands for in a function."""

    value: Value
    fixed: bool = False
    """``const``, or a parameter that is a reference: nothing is assigned to it."""
    declared: str = ""
    """How device code is told of it: a declaration of the type or the constant that it is."""


@dataclass(frozen=True)
class Signature:
    """A translated function."""

    python: str
    """Its name."""
    parameters: tuple[Type, ...]
    required: int
    """How many have no default."""
    result: Type


@dataclass
class Scope:
    """Names of a block: variables, and types that templates, dispatches and ``using`` give."""

    variables: dict[str, Variable] = field(default_factory=dict)
    types: dict[str, Type] = field(default_factory=dict)


class FunctionBody(Protocol):
    """One host function with its template arguments."""

    def signature(self, python: str) -> Signature:
        """What it takes and gives; it is called ``python``."""
        ...

    def text(self, python: str) -> str:
        """It in Python."""
        ...


class Values(Protocol):
    """A translator of expressions."""

    def type(self, given: Sequence[Token]) -> Type: ...

    def value(self, node: Node) -> Value: ...


class Translation:
    """Everything that one source becomes; ``body`` and ``values`` translate functions and expressions."""

    def __init__(
        self,
        parts: Parts,
        body: Callable[[Translation, HostFunction, Scope], FunctionBody],
        values: Callable[[Translation, None, list[Scope]], Values],
    ) -> None:
        self.parts = parts
        self._body, self._values = body, values
        self.launches = Launches(parts)
        self.functions: list[str] = []
        """Python of each."""
        self._known: dict[tuple[str, int, str], Signature] = {}
        self._constants: dict[str, Variable | None] = {}
        kernels = {name for name, kernel in parts.kernels.items() if kernel.template is not None}
        self._templates = frozenset(
            kernels | {f.name for functions in parts.functions.values() for f in functions if f.template is not None}
        )

    def reader(self, given: Sequence[Token], types: frozenset[str] = frozenset()) -> Reader:
        """Of expressions and statements, with the source's macros replaced."""
        return Reader(expand(given, self.parts.macros), self._templates, frozenset(self.parts.aliases) | types)

    def function(self, name: str, count: int | None, line: int, given: Scope | None = None) -> Signature:
        """A host function, translated once for each set of template arguments (``given``); ``count``: of arguments.

        Raises:
            BuildError: there is none, or its text is wrong. NotModelled: it needs what is not modelled.
        """
        chosen = self._choose(name, count, line)
        scope = given or Scope()
        said = f"{ {n: str(t) for n, t in scope.types.items()} } { {n: v.value.constant for n, v in scope.variables.items()} }"
        key = (name, chosen.start, said)
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= _MOST_FUNCTIONS:
                raise BuildError(f"line {line}: more than {_MOST_FUNCTIONS} host functions")
            body = self._body(self, chosen, scope)
            python = f"{name}_{len(self._known)}"
            known = self._known[key] = body.signature(python)
            self.functions.append(body.text(python))
        return known

    def _choose(self, name: str, count: int | None, line: int) -> HostFunction:
        found = self.parts.functions.get(name, [])
        if not found:
            raise BuildError(
                f"line {line}: no host function {name}() with a body; there are: {', '.join(self.parts.functions)}"
            )
        if len(found) > 1:
            found = [f for f in found if count is not None and len(f.parameters) == count]
        if len(found) != 1:
            raise missing(line, name, "a host function with several definitions")
        return found[0]

    def constant(self, name: str) -> Variable | None:
        """What stands outside functions under a name and does not change."""
        if name not in self._constants:
            self._constants[name] = None  # one that needs itself
            if name in self.parts.constants:
                kind, tokens = self.parts.constants[name]
                self._constants[name] = self._evaluated(kind, tokens)
        return self._constants[name]

    def _evaluated(self, kind: Sequence[Token], tokens: Sequence[Token]) -> Variable:
        found = self._values(self, None, [Scope()])
        value = found.value(self.reader(tokens).whole())
        return Variable(python_of(value, found.type(kind), kind[0].line), fixed=True)

    def alias(self, name: str) -> Type | None:
        """The type that the source has given a name."""
        tokens = self.parts.aliases.get(name)
        return None if tokens is None else spelled(tokens, lambda other: None if other == name else self.alias(other))


def python_of(value: Value, want: Type, line: int) -> Value:
    """A value as one of another type.

    Raises:
        BuildError: C++ has no such conversion.
    """
    if isinstance(value.constant, int) and is_int(want) and is_int(value.type):
        bits, unsigned = BITS[want.kind], want.kind.startswith("u")
        number = int(bool(value.constant)) if want == BOOL else cxx.wrapped(value.constant, bits, unsigned)
        return Value(literal(number, want), want, number)
    if isinstance(value.constant, int) and want.kind == "dim3" and is_int(value.type):
        return Value(f"({cxx.wrapped(value.constant, 32, True)}, 1, 1)", want)
    code = convert(value.python, value.type, want)
    if code is None:
        raise BuildError(f"line {line}: {value.type} where {want} is expected")
    return Value(code, want if want.kind != "auto" else value.type, value.constant if want.kind == "auto" else None)


def literal(number: int, kind: Type) -> str:
    """A constant in Python."""
    if kind == BOOL:
        return str(bool(number))
    return f"({number})" if number < 0 else str(number)

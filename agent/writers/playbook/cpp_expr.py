"""Expressions as C++ text, each distinct one computed once, in the outermost loop that knows all it reads."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from kernelwright.agent.writers.playbook.cpp_math import CALLS
from kernelwright.agent.writers.playbook.expr import Arg, Const, Expr, Load, Masked, Op, Position, Scalar
from kernelwright.agent.writers.playbook.index import Atom, Axis, FloorDiv, Poly, Sym, Value
from kernelwright.agent.writers.playbook.walks import expr_axes, expr_scalars

TYPES = {"float": "float", "int": "i64", "bool": "bool"}
_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_INT_INFIX = {"and": "&", "or": "|", "xor": "^", "shl": "<<", "shr": ">>"}


def constant(value: float | int | bool, kind: str) -> str:
    """A literal."""
    if kind == "bool":
        return "true" if value else "false"
    if kind == "int":
        return f"(i64){int(value)}" if abs(int(value)) < 2**63 else "INT64_MIN"
    number = float(value)
    if math.isnan(number):
        return "NAN_"
    if math.isinf(number):
        return "INF" if number > 0 else "-INF"
    return f"{number!r}f" if "." in repr(number) or "e" in repr(number) else f"{number!r}.0f"


@dataclass
class Scope:
    """One level of loops: the axes and scalars that it adds, and its statements."""

    axes: frozenset[Axis] = frozenset()
    scalars: frozenset[str] = frozenset()
    lines: list[str] = field(default_factory=list)


@dataclass
class Printer:
    """Prints expressions into nested scopes, outermost first."""

    kinds: Mapping[str, str]
    """Buffer -> kind of its elements as loaded (``float``, ``int``, ``bool``)."""
    scopes: list[Scope]
    names: dict[Expr, str] = field(default_factory=dict)
    """Already computed: expression -> name."""
    scalars: dict[str, str] = field(default_factory=dict)
    """Scalar -> how it is read where that is not its name."""
    moderate: frozenset[str] = frozenset()
    """Scalars whose reciprocal is neither tiny nor huge: dividing by them in a loop may be multiplying."""
    prefix: str = "e"
    count: list[int] = field(default_factory=lambda: [0])

    def poly(self, poly: Poly, inline: bool = False) -> str:
        """An index as text; loaded indices are computed before (or inline)."""

        def atom(a: Atom) -> str:
            if isinstance(a, Value):
                return self.inline(a.expr) if inline else self.value(a.expr)
            if isinstance(a, (Axis, Sym)):
                return a.name
            if isinstance(a, FloorDiv):
                return f"(({self.poly(a.num, inline)}) / ({self.poly(a.den, inline)}))"
            return f"(({self.poly(a.num, inline)}) % ({self.poly(a.den, inline)}))"

        return _print(poly, atom)

    def level(self, expr: Expr) -> int:
        """The outermost scope that knows all that ``expr`` reads."""
        axes, scalars = expr_axes(expr), expr_scalars(expr)
        for n in range(len(self.scopes)):
            axes -= self.scopes[n].axes
            scalars -= self.scopes[n].scalars
            if not axes and not scalars:
                return n
        raise ValueError(f"unknown in these loops: {[a.name for a in axes]} {sorted(scalars)}")

    def value(self, expr: Expr) -> str:
        """The name (or short text) of ``expr``, computed where it belongs."""
        if isinstance(expr, Const):
            return constant(expr.value, expr.kind)
        if isinstance(expr, Scalar):
            return self.scalars.get(expr.name, expr.name)
        if isinstance(expr, Arg):
            return expr.name
        if expr in self.names:
            return self.names[expr]
        if isinstance(expr, Masked):
            text = self.inline(expr)
        elif isinstance(expr, Op):
            args = expr.args
            if expr.name == "div" and self._reciprocal(expr):
                expr_ = Op("mul", (args[0], Op("reciprocal", (args[1],), "float")), "float")
                text = self.apply(expr_, [self.value(a) for a in expr_.args])
            else:
                text = self.apply(expr, [self.value(a) for a in args])
        else:
            text = self.leaf(expr, False)
        self.count[0] += 1
        name = f"{self.prefix}{self.count[0]}"
        self.scopes[self.level(expr)].lines.append(f"const {TYPES[expr.kind]} {name} = {text};")
        self.names[expr] = name
        return name

    def _reciprocal(self, expr: Op) -> bool:
        """Whether a division may become a product with a reciprocal that is computed outside this loop."""
        over, under = expr.args
        if self.level(under) >= self.level(over):
            return False
        if isinstance(under, Op) and under.name == "float" and isinstance(under.args[0], Position):
            return True
        return isinstance(under, Scalar) and under.name in self.moderate

    def inline(self, expr: Expr) -> str:
        """``expr`` as one expression, nothing of it computed ahead: for what must not run outside its condition."""
        if expr in self.names:
            return self.names[expr]
        if isinstance(expr, Masked):
            return f"({self.inline(expr.cond)} ? {self.inline(expr.value)} : {self.inline(expr.other)})"
        if isinstance(expr, Op):
            return f"({self.apply(expr, [self.inline(a) for a in expr.args])})"
        if isinstance(expr, (Load, Position)):
            return self.leaf(expr, True)
        return self.value(expr)

    def leaf(self, expr: Expr, inline: bool) -> str:
        if isinstance(expr, Load):
            kind = self.kinds[expr.buffer]
            loaded = f"{ {'float': 'ld', 'int': 'li', 'bool': 'lb'}[kind] }({expr.buffer}, {self.poly(expr.offset, inline)})"
            return loaded if kind == expr.kind else f"({TYPES[expr.kind]}){loaded}"
        if isinstance(expr, Position):
            return f"({self.poly(expr.poly, inline)})"
        raise ValueError(f"{expr!r} in a kernel")

    def apply(self, expr: Op, args: list[str]) -> str:
        """An operator on printed arguments."""
        name, kind = expr.name, expr.args[0].kind
        if name in _FORMS:
            return _FORMS[name].format(*args)
        if name in _INFIX:
            return f"{args[0]} {_INFIX[name]} {args[1]}"
        if name in _INT_INFIX and kind != "float":
            text = f"{args[0]} {_INT_INFIX[name]} {args[1]}"
            return f"(bool)({text})" if kind == "bool" else text
        if kind == "float":
            return f"{CALLS[name]}({', '.join(args)})"
        return _integer(name, args)


_FORMS = {
    "float": "(float){0}", "int": "(i64){0}", "bool": "({0} != 0)", "where": "{0} ? {1} : {2}",
    "neg": "-{0}", "not": "!{0}", "bitnot": "~{0}",
    "square": "{0} * {0}", "reciprocal": "1.0f / {0}", "isnan": "{0} != {0}", "isinf": "kabs({0}) == INF",
}  # fmt: skip
"""Operators that are no calls, for every kind."""


def _integer(name: str, args: list[str]) -> str:
    """Operators on integers (and bools taken as such)."""
    if name in ("max", "min"):
        return f"i{name}({', '.join(args)})"
    if name == "abs":
        return f"({args[0]} < 0 ? -{args[0]} : {args[0]})"
    if name == "sign":
        return f"(i64)(({args[0]} > 0) - ({args[0]} < 0))"
    if name in ("floordiv", "mod"):
        return f"{'fdiv' if name == 'floordiv' else 'fmodi'}({', '.join(args)})"
    if name == "fmod":
        return f"{args[0]} % {args[1]}"
    if name == "pow":
        return f"(i64)__builtin_pow((double){args[0]}, (double){args[1]})"
    raise ValueError(f"operator {name} on integers")


def _print(poly: Poly, atom: object) -> str:
    parts = []
    for monomial, weight in poly.terms:
        factors = [atom(a) for a in monomial]  # type: ignore[operator]
        if weight != 1 or not factors:
            factors.append(str(weight) if weight >= 0 else f"({weight})")
        parts.append(" * ".join(factors))
    return " + ".join(parts) or "0"

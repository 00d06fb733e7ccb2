"""Expressions of the playbook's IR: what one element is, interned (equal means the same object)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kernelwright.agent.writers.playbook.index import Poly
from kernelwright.agent.writers.playbook.intern import Node

Kind = Literal["float", "int", "bool"]


UNARY = (
    "neg",
    "abs",
    "sqrt",
    "rsqrt",
    "reciprocal",
    "square",
    "exp",
    "exp2",
    "expm1",
    "log",
    "log1p",
    "log2",
    "log10",
    "sin",
    "cos",
    "tan",
    "asin",
    "acos",
    "atan",
    "sinh",
    "cosh",
    "tanh",
    "asinh",
    "acosh",
    "atanh",
    "erf",
    "erfc",
    "sigmoid",
    "floor",
    "ceil",
    "round",
    "trunc",
    "sign",
    "isnan",
    "isinf",
    "not",
    "bitnot",
    "float",
    "int",
    "bool",
)
"""One argument. ``round`` is half to even; ``sign`` of NaN is NaN (fp); ``float``/``int``/``bool`` convert the kind
(``int`` truncates towards zero, ``bool`` is ``!= 0``); ``not`` is logical on bool, ``bitnot`` on int."""


BINARY = (
    "add",
    "sub",
    "mul",
    "div",
    "pow",
    "fmod",
    "mod",
    "floordiv",
    "max",
    "min",
    "atan2",
    "copysign",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "and",
    "or",
    "xor",
    "shl",
    "shr",
)
"""Two arguments of the same kind. ``div`` is on floats only; ``mod``/``floordiv`` follow Python's sign rule (floats and ints),
``fmod`` C's; ``max``/``min`` propagate NaN as torch does; comparisons give bool; ``and``/``or``/``xor`` are logical on
bool, bitwise on int."""


TERNARY = ("where",)
"""``where(cond, a, b)``: both sides may be evaluated (their loads are in bounds either way); see :class:`Masked`."""


@dataclass(frozen=True, eq=False)
class Const(Node):
    """A literal; ``inf``, ``-inf`` and ``nan`` occur."""

    value: float | int | bool
    kind: Kind


@dataclass(frozen=True, eq=False)
class Load(Node):
    """Element ``offset`` of ``buffer``, converted to ``kind``."""

    buffer: str
    offset: Poly
    kind: Kind


@dataclass(frozen=True, eq=False)
class Position(Node):
    """An index polynomial as a value of kind ``int`` (arange, sizes)."""

    poly: Poly
    kind: Kind = "int"


@dataclass(frozen=True, eq=False)
class Scalar(Node):
    """The result of a named reduction, scan (its running value, inclusive) or template accumulator of this kernel."""

    name: str
    kind: Kind


@dataclass(frozen=True, eq=False)
class Arg(Node):
    """A number given at run time: one of :attr:`Program.numbers`."""

    name: str
    kind: Kind


@dataclass(frozen=True, eq=False)
class Op(Node):
    """``name(*args)`` with ``name`` of :data:`UNARY`, :data:`BINARY` or :data:`TERNARY`; ``kind`` is that of the result."""

    name: str
    args: tuple[Expr, ...]
    kind: Kind


@dataclass(frozen=True, eq=False)
class Masked(Node):
    """``value`` where ``cond`` holds, else ``other``; loads inside ``value`` may be out of bounds where it does not."""

    cond: Expr
    value: Expr
    other: Expr
    kind: Kind


@dataclass(frozen=True, eq=False)
class Ref(Node):
    """Element ``index`` of definition ``number`` (``defs.py``): only before scheduling, never in a Program."""

    number: int
    index: tuple[Poly, ...]
    kind: Kind


Expr = Const | Load | Position | Scalar | Arg | Op | Masked | Ref

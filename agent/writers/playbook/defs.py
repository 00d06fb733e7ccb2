"""Tensors while a graph is lowered: definitions that refer to each other by index functions, not yet loops.

A :class:`Def` says what one element of a tensor is, as an expression over the tensor's own axes; :class:`Ref` stands for
an element
of another definition (see ``ir.py``). Views are no definitions: they only change indices. ``schedule.py`` decides what
becomes a kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from kernelwright.agent.writers.playbook.expr import Const, Expr, Kind, Load, Op, Ref
from kernelwright.agent.writers.playbook.index import ONE, ZERO, Axis, Poly, Polyish

Index = tuple[Poly, ...]


@dataclass(frozen=True)
class Map:
    """One element is ``body``."""

    body: Expr


@dataclass(frozen=True)
class Red:
    """One element is ``op`` over ``over`` of ``body`` (``at``: what argmax and argmin give)."""

    op: str
    over: tuple[Axis, ...]
    body: Expr
    at: Poly | None = None
    span: tuple[Expr, Expr] | None = None
    """Data-dependent bounds of the single axis of ``over``."""


@dataclass(frozen=True)
class Run:
    """A running ``op`` along ``along`` (one of the definition's axes); ``position``: give the extreme's place instead."""

    op: str
    along: Axis
    body: Expr
    reverse: bool = False
    position: bool = False


@dataclass(frozen=True)
class Mat:
    """A matrix product: axes are (batch…, m, n)."""

    k: Axis
    a: Expr
    b: Expr


@dataclass(frozen=True)
class Convolution:
    """A convolution: axes are (n, g, oc, spatial…), any of them possibly of extent 1."""

    batch: Axis
    group: Axis
    oc: Axis
    spatial: tuple[Axis, ...]
    ic: Axis
    taps: tuple[Axis, ...]
    positions: tuple[Axis, ...]
    inputs: tuple[Poly, ...]
    stride: tuple[Poly, ...]
    padding: tuple[Poly, ...]
    dilation: tuple[Poly, ...]
    transposed: bool
    x: Expr
    w: Expr


@dataclass(frozen=True)
class Put:
    """``start`` (over the definition's axes), then for each point of ``over``: combine ``value`` at linear ``offset``."""

    start: Expr
    over: tuple[Axis, ...]
    offset: Poly
    value: Expr
    op: str
    guard: Expr | None = None
    """Where it is given, points at which it is false combine nothing."""


@dataclass(frozen=True)
class Sorted:
    """The elements of ``body`` along ``along`` in order, by their rank, which is ``rank`` of the definition's axes (a last
    one has no rank, where the best few are asked for); ``position``: give their places instead. NaN is the largest."""

    along: Axis
    rank: Axis
    body: Expr
    descending: bool
    position: bool = False


@dataclass(frozen=True)
class Fourier:
    """The Fourier transform along ``along`` of ``body``, real: the last axes are half the frequencies and the two parts."""

    along: Axis
    body: Expr


Rule = Map | Red | Run | Mat | Convolution | Put | Sorted | Fourier


@dataclass(frozen=True)
class Def:
    """Definition ``number`` of a tensor of ``shape``; ``axes`` has one axis a dimension (also where the extent is 1)."""

    number: int
    shape: Index
    dtype: str
    axes: tuple[Axis, ...]
    rule: Rule


@dataclass(frozen=True)
class Tensor:
    """A value of the graph: its element at an index, as an expression."""

    shape: Index
    dtype: str
    at: Callable[[Index], Expr]
    whole: Tensor | None = None
    """The tensor of which this one is another shape, the elements in the same order; and an index there for one here."""
    place: Callable[[Index], Index] | None = None

    @property
    def kind(self) -> Kind:
        return kind_of(self.dtype)


@dataclass(frozen=True)
class Complex:
    """A complex value of the graph, by the tensor of its real and imaginary parts."""

    parts: Tensor


def kind_of(dtype: str) -> Kind:
    """The kind in which values of ``dtype`` are computed."""
    if dtype == "bool":
        return "bool"
    return "int" if dtype.startswith(("int", "uint")) else "float"


@dataclass
class Defs:
    """The definitions made so far; also makes fresh axes."""

    items: list[Def] = field(default_factory=list)
    _axes: int = 0

    def axis(self, extent: Polyish) -> Axis:
        """A fresh axis."""
        self._axes += 1
        return Axis(f"a{self._axes}", Poly.of(extent))

    def axes(self, shape: Index) -> tuple[Axis, ...]:
        """Fresh axes, one a dimension."""
        return tuple(self.axis(size) for size in shape)

    def add(self, axes: tuple[Axis, ...], dtype: str, rule: Rule) -> Tensor:
        """A new definition, as a tensor."""
        shape = tuple(axis.extent for axis in axes)
        number = len(self.items)
        self.items.append(Def(number, shape, dtype, axes, rule))
        kind = kind_of(dtype)
        return Tensor(shape, dtype, lambda index: Ref(number, index, kind))

    def map(self, shape: Index, dtype: str, body: Callable[[Index], Expr]) -> Tensor:
        """An elementwise definition; ``body`` is given the index."""
        axes = self.axes(shape)
        return self.add(axes, dtype, Map(as_kind(body(point(axes)), kind_of(dtype))))


def point(axes: tuple[Axis, ...]) -> Index:
    """The index at ``axes``: 0 along dimensions of extent 1."""
    return tuple(ZERO if axis.extent is ONE else Poly.of(axis) for axis in axes)


def source(name: str, shape: Index, dtype: str, steps: Index) -> Tensor:
    """The tensor in buffer ``name``, contiguous with strides ``steps``."""
    kind = kind_of(dtype)

    def at(index: Index) -> Expr:
        return Load(name, sum((i * s for i, s in zip(index, steps, strict=True)), ZERO), kind)

    return Tensor(shape, dtype, at)


def as_kind(expr: Expr, kind: Kind) -> Expr:
    """``expr`` converted to ``kind``."""
    if expr.kind == kind:
        return expr
    if isinstance(expr, Const):
        value = expr.value
        return Const({"float": float, "int": int, "bool": bool}[kind](value), kind)
    return Op(kind, (expr,), kind)


def op(name: str, *args: Expr) -> Expr:
    """``name(*args)`` with the kinds brought together: comparisons give bool, the rest the widest kind of the arguments."""
    kinds = {a.kind for a in args}
    wide: Kind = "float" if "float" in kinds else "int" if "int" in kinds else "bool"
    given = tuple(as_kind(a, wide) for a in args)
    result: Kind = "bool" if name in ("eq", "ne", "lt", "le", "gt", "ge", "not", "isnan", "isinf") else wide
    return Op(name, given, result)


def fop(name: str, *args: Expr) -> Expr:
    """``op`` on floats."""
    return op(name, *[as_kind(a, "float") for a in args])


def num(value: float) -> Const:
    """A float literal."""
    return Const(float(value), "float")


def where(cond: Expr, a: Expr, b: Expr) -> Expr:
    """``a`` where ``cond`` else ``b``, in their wider kind."""
    wide: Kind = "float" if "float" in (a.kind, b.kind) else "int" if "int" in (a.kind, b.kind) else "bool"
    return Op("where", (as_kind(cond, "bool"), as_kind(a, wide), as_kind(b, wide)), wide)

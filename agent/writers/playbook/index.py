"""Integer algebra of sizes and offsets: polynomials over symbols, loop axes, floor divisions and loaded indices.

A :class:`Poly` is a normal form: two equal polynomials compare equal, whatever way they were built.
Floor division and remainder are those of Python; every axis and symbol is non-negative.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, Union

from kernelwright.agent.writers.playbook.intern import Node


@dataclass(frozen=True, eq=False)
class Sym(Node):
    """A size known when ``forward`` is called; non-negative."""

    name: str


@dataclass(frozen=True, eq=False)
class Axis(Node):
    """A loop variable that runs over ``0 … extent - 1``; unique by name within a kernel."""

    name: str
    extent: Poly


@dataclass(frozen=True, eq=False)
class FloorDiv(Node):
    """``num // den``."""

    num: Poly
    den: Poly


@dataclass(frozen=True, eq=False)
class Mod(Node):
    """``num % den``."""

    num: Poly
    den: Poly


@dataclass(frozen=True, eq=False)
class Value(Node):
    """An index read from data: ``expr`` is an :data:`~kernelwright.agent.writers.playbook.expr.Expr` of kind ``int``."""

    expr: Any


Atom = Sym | Axis | FloorDiv | Mod | Value
Monomial = tuple[Atom, ...]
Polyish = Union["Poly", int]


def _key(atom: Atom) -> tuple[int, str]:
    if isinstance(atom, Axis):
        return (0, atom.name)
    if isinstance(atom, Sym):
        return (1, atom.name)
    return (2, atom.key)


@dataclass(frozen=True, eq=False)
class Poly(Node):
    """A sum of integer-weighted products of atoms: ``terms`` are ``(monomial, weight)``, sorted, weights non-zero."""

    terms: tuple[tuple[Monomial, int], ...] = ()

    @staticmethod
    def of(value: Polyish | Atom) -> Poly:
        """``value`` as a polynomial."""
        if isinstance(value, Poly):
            return value
        if isinstance(value, int):
            return Poly((((), int(value)),)) if value else Poly()
        return Poly((((value,), 1),))

    @staticmethod
    def build(terms: Mapping[Monomial, int]) -> Poly:
        """The normal form of a mapping of sorted monomials to weights."""
        kept = [(m, w) for m, w in terms.items() if w]
        return Poly(tuple(sorted(kept, key=lambda t: [_key(a) for a in t[0]])))

    @property
    def const(self) -> int | None:
        """The value where it is a plain integer, else None."""
        if not self.terms:
            return 0
        if len(self.terms) == 1 and not self.terms[0][0]:
            return self.terms[0][1]
        return None

    def __add__(self, other: Polyish) -> Poly:
        terms = dict(self.terms)
        for monomial, weight in Poly.of(other).terms:
            terms[monomial] = terms.get(monomial, 0) + weight
        return Poly.build(terms)

    __radd__ = __add__

    def __neg__(self) -> Poly:
        return Poly(tuple((m, -w) for m, w in self.terms))

    def __sub__(self, other: Polyish) -> Poly:
        return self + (-Poly.of(other))

    def __rsub__(self, other: Polyish) -> Poly:
        return Poly.of(other) - self

    def __mul__(self, other: Polyish) -> Poly:
        terms: dict[Monomial, int] = {}
        for m1, w1 in self.terms:
            for m2, w2 in Poly.of(other).terms:
                m = tuple(sorted(m1 + m2, key=_key))
                terms[m] = terms.get(m, 0) + w1 * w2
        return Poly.build(terms)

    __rmul__ = __mul__

    def __floordiv__(self, other: Polyish) -> Poly:
        den = Poly.of(other)
        whole, rest = _divide(self, den)
        if rest.const == 0 or below(rest, den):
            return whole
        return whole + Poly.of(FloorDiv(rest, den))

    def __mod__(self, other: Polyish) -> Poly:
        den = Poly.of(other)
        _, rest = _divide(self, den)
        if rest.const == 0 or below(rest, den):
            return rest
        return Poly.of(Mod(rest, den))


ZERO = Poly.of(0)
ONE = Poly.of(1)


def _quotient(monomial: Monomial, weight: int, den: tuple[Monomial, int]) -> tuple[Monomial, int] | None:
    """``weight * monomial / den`` where it divides exactly, else None."""
    if weight % den[1]:
        return None
    left = list(monomial)
    for atom in den[0]:
        if atom not in left:
            return None
        left.remove(atom)
    return tuple(left), weight // den[1]


def _divide(num: Poly, den: Poly) -> tuple[Poly, Poly]:
    """``(whole, rest)`` with ``num == whole * den + rest``, by the terms that divide exactly."""
    if den.const is not None:
        if den.const == 0:
            return ZERO, num
        if num.const is not None:
            q, r = divmod(num.const, den.const)
            return Poly.of(q), Poly.of(r)
    whole: dict[Monomial, int] = {}
    if len(den.terms) == 1:
        rest: dict[Monomial, int] = {}
        for monomial, weight in num.terms:
            exact = _quotient(monomial, weight, den.terms[0])
            if exact is None:
                rest[monomial] = weight
            else:
                whole[exact[0]] = whole.get(exact[0], 0) + exact[1]
        return Poly.build(whole), Poly.build(rest)
    return _divide_by_sum(num, den) if den.terms else (ZERO, num)


def _divide_by_sum(num: Poly, den: Poly) -> tuple[Poly, Poly]:
    """As :func:`_divide`, by a sum: multiples of its first term are tried."""
    left, result = num, ZERO
    for monomial, weight in num.terms:
        exact = _quotient(monomial, weight, den.terms[0])
        if exact is None:
            continue
        factor = Poly.build({exact[0]: exact[1]})
        candidate = left - factor * den
        if len(candidate.terms) < len(left.terms):
            left, result = candidate, result + factor
    return result, left


def below(value: Poly, bound: Poly) -> bool:
    """Whether ``0 <= value < bound`` can be shown from the extents of the axes in ``value``."""
    if value.const is not None and bound.const is not None:
        return 0 <= value.const < bound.const
    if any(weight < 0 for _, weight in value.terms):
        return False
    # mixed radix: peel the axis term with the largest step: value < step * extent <= bound
    left = value
    top = bound
    while left.terms:
        for monomial, weight in left.terms:
            axis = next((a for a in monomial if isinstance(a, (Axis, Mod))), None)
            if axis is None:
                continue
            rest = list(monomial)
            rest.remove(axis)
            step = Poly.build({tuple(rest): weight})
            extent = axis.extent if isinstance(axis, Axis) else axis.den
            if step * extent == top:
                left = left - Poly.build({monomial: weight})
                top = step
                break
        else:
            return False
    return True


def product(values: Iterable[Polyish]) -> Poly:
    """The product of ``values``; 1 for none."""
    return reduce(lambda a, b: a * b, values, ONE)


def atoms(poly: Poly) -> set[Atom]:
    """All atoms of ``poly``, including those inside divisions, not those inside loaded indices."""
    found: set[Atom] = set()
    for monomial, _ in poly.terms:
        for atom in monomial:
            found.add(atom)
            if isinstance(atom, (FloorDiv, Mod)):
                found |= atoms(atom.num) | atoms(atom.den)
    return found


def rewrite(poly: Poly, change: Callable[[Atom], Poly | None]) -> Poly:
    """``poly`` with each atom for which ``change`` gives a polynomial replaced; divisions are rewritten inside."""
    total = ZERO
    for monomial, weight in poly.terms:
        term = Poly.of(weight)
        for atom in monomial:
            new = change(atom)
            if new is None:
                new = Poly.of(atom)
                if isinstance(atom, FloorDiv):
                    new = rewrite(atom.num, change) // rewrite(atom.den, change)
                elif isinstance(atom, Mod):
                    new = rewrite(atom.num, change) % rewrite(atom.den, change)
            term = term * new
        total = total + term
    return total


def evaluate(poly: Poly, values: Mapping[str, int]) -> int:
    """The integer that ``poly`` (over symbols only) has under ``values``: symbol name -> integer."""
    total = 0
    for monomial, weight in poly.terms:
        for atom in monomial:
            if isinstance(atom, Sym):
                weight *= values[atom.name]
            elif isinstance(atom, FloorDiv):
                weight *= evaluate(atom.num, values) // evaluate(atom.den, values)
            elif isinstance(atom, Mod):
                weight *= evaluate(atom.num, values) % evaluate(atom.den, values)
            else:
                raise ValueError(f"{atom!r} is not a size")
        total += weight
    return total


def strides(shape: Iterable[Poly]) -> tuple[Poly, ...]:
    """Element strides of a contiguous tensor of ``shape``."""
    steps: list[Poly] = []
    step = ONE
    for size in reversed(tuple(shape)):
        steps.append(step)
        step = step * size
    return tuple(reversed(steps))


def flat(axes: Iterable[Axis]) -> Poly:
    """The row-major index of a point of ``axes``, the first slowest."""
    index = ZERO
    for axis in axes:
        index = index * axis.extent + Poly.of(axis)
    return index


def text(poly: Poly, atom_text: Callable[[Atom], str] | None = None, divide: str = "//") -> str:
    """``poly`` as source text; ``atom_text`` prints axes, symbols and loaded indices (default: their names)."""

    def one(atom: Atom) -> str:
        if isinstance(atom, FloorDiv):
            return f"(({text(atom.num, atom_text, divide)}) {divide} ({text(atom.den, atom_text, divide)}))"
        if isinstance(atom, Mod):
            return f"(({text(atom.num, atom_text, divide)}) % ({text(atom.den, atom_text, divide)}))"
        if atom_text is not None:
            return atom_text(atom)
        if isinstance(atom, Value):
            raise ValueError("a loaded index has no name: pass atom_text")
        return atom.name

    parts = []
    for monomial, weight in poly.terms:
        factors = [one(a) for a in monomial]
        if weight != 1 or not factors:
            factors.append(str(weight) if weight >= 0 else f"({weight})")
        parts.append(" * ".join(factors))
    return " + ".join(parts) or "0"


def not_negative(poly: Poly) -> bool:
    """Whether ``poly`` can be seen to be at least 0."""

    def atom(a: Atom) -> bool:
        if isinstance(a, FloorDiv):
            return not_negative(a.num) and not_negative(a.den)
        return not isinstance(a, Value)

    return all(weight > 0 and all(atom(a) for a in monomial) for monomial, weight in poly.terms)


def estimate(poly: Poly, hints: Mapping[str, tuple[int, ...]], default: int = 1024) -> int:
    """``poly`` at the traced sizes; ``default`` for what was not traced. For schedules only."""

    def atom(a: Atom) -> int:
        if isinstance(a, Sym):
            return hints[a.name][0] if hints.get(a.name) else default
        if isinstance(a, FloorDiv):
            return estimate(a.num, hints, default) // max(estimate(a.den, hints, default), 1)
        if isinstance(a, Mod):
            return estimate(a.den, hints, default) - 1
        if isinstance(a, Axis):
            return estimate(a.extent, hints, default)
        return default

    return sum(weight * math.prod(atom(a) for a in monomial) for monomial, weight in poly.terms)

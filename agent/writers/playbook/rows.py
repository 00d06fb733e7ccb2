"""Reductions inside the nest that uses them: rows of phases, level by level; and templates' axes seen from their epilogue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from kernelwright.agent.writers.playbook.defs import Def, Red, as_kind, kind_of
from kernelwright.agent.writers.playbook.expr import Expr, Ref, Scalar
from kernelwright.agent.writers.playbook.graph import Symbols
from kernelwright.agent.writers.playbook.index import ONE, ZERO, Axis, Poly
from kernelwright.agent.writers.playbook.ir import Loop, Reduce
from kernelwright.agent.writers.playbook.simplify import move, move_poly, split_all
from kernelwright.agent.writers.playbook.walks import poly_axes, walk

Span = tuple[Expr, Expr] | None


class Need(Exception):
    """Definition ``number`` must be in memory before this fusion can work."""

    def __init__(self, number: int) -> None:
        super().__init__(f"definition {number}")
        self.number = number


class Owner(Protocol):
    """What rows ask the scheduler for."""

    defs: list[Def]

    def expand(self, expr: Expr) -> Expr:
        """Elementwise definitions inlined, those in memory loaded."""
        ...

    def pick_root(self, n: int, ref: Ref) -> int:
        """The definition to put in memory so that kernel ``n`` needs not compute ``ref``."""
        ...


def refs(expr: Expr) -> list[Ref]:
    """References left in an expanded expression, later definitions first."""
    found = {e for e in walk(expr) if isinstance(e, Ref)}
    return sorted(found, key=lambda r: (-r.number, r.key))


def axes_of(ref: Ref) -> set[Axis]:
    """Axes that a reference's index reads."""
    return {a for p in ref.index for a in poly_axes(p)}


@dataclass
class Rows:
    """Reductions of one nest, level by level."""

    owner: Owner
    number: int
    outer: tuple[Axis, ...]
    share: dict[tuple[Poly, ...], tuple[Axis, ...]] = field(default_factory=dict)
    """Extents -> the axes that loops over them use."""
    named: dict[Expr, tuple[Scalar, int]] = field(default_factory=dict)
    found: list[tuple[int, tuple[Axis, ...], Span, Reduce]] = field(default_factory=list)

    def resolve(self, expr: Expr, depth: int) -> Expr:
        """``expr`` with reductions as scalars; ``depth`` levels may still be above."""
        for ref in refs(expr):
            self._name(ref, depth)
        return move(expr, {}, lambda e: self.named[e][0] if e in self.named else None)

    def _name(self, ref: Ref, depth: int) -> int:
        if ref in self.named:
            return self.named[ref][1]
        s = self.owner
        d = s.defs[ref.number]
        if not isinstance(d.rule, Red) or axes_of(ref) != set(self.outer):
            raise Need(s.pick_root(self.number, ref))
        if not self.outer and depth:
            raise Need(s.pick_root(self.number, ref))
        body, over, at, span = self._placed(d.rule, dict(zip(d.axes, ref.index, strict=True)))
        level = 0
        for inner in refs(body):
            level = max(level, self._name(inner, depth + 1) + 1)
        body = move(body, {}, lambda e: self.named[e][0] if e in self.named else None)
        kind = kind_of(d.dtype)
        value = body if at is not None else as_kind(body, kind)
        name = self._record(level, over, span, Reduce(f"v{len(self.named)}", d.rule.op, value, kind, at))
        self.named[ref] = (Scalar(name, kind), level)
        return level

    def _placed(self, rule: Red, change: dict[Axis, Poly]) -> tuple[Expr, tuple[Axis, ...], Poly | None, Span]:
        """A reduction's value, axes, place and bounds at this nest's points, over the axes that its loops share."""
        body = move(self.owner.expand(rule.body), change)
        over = rule.over
        if rule.at is None:
            over, (body,), _ = split_all(over, [body], [])
        own = tuple(Axis(f"n{self.number}{a.name}", a.extent) for a in over)
        shared = self.share.setdefault(tuple(a.extent for a in over), own)
        renamed = {a: Poly.of(b) for a, b in zip(over, shared, strict=True)}
        at = None if rule.at is None else move_poly(rule.at, {**change, **renamed})
        span = None
        if rule.span is not None:
            first, last = (move(self.owner.expand(e), change) for e in rule.span)
            for ref in [*refs(first), *refs(last)]:
                raise Need(ref.number)
            span = (first, last)
        return move(body, renamed), shared, at, span

    def _record(self, level: int, axes: tuple[Axis, ...], span: Span, reduce: Reduce) -> str:
        """The name of the reduction: that of an equal one where there is one."""
        for _, known_axes, known_span, known in self.found:
            same = (known.op, known.value, known.index) == (reduce.op, reduce.value, reduce.index)
            if same and known_axes == axes and known_span == span:
                return known.name
        self.found.append((level, axes, span, reduce))
        return reduce.name

    def phases(self) -> tuple[Loop, ...]:
        """One loop for each level, axes and bounds."""
        loops: dict[tuple[int, tuple[Axis, ...], Span], list[Reduce]] = {}
        for level, axes, span, reduce in self.found:
            loops.setdefault((level, axes, span), []).append(reduce)
        ordered = sorted(loops.items(), key=lambda item: item[0][0])
        return tuple(Loop(axes, reduces=tuple(reduces), span=span) for (_, axes, span), reduces in ordered)


def invert(symbols: Symbols, index: Sequence[Poly], template: Sequence[Axis], axes: Sequence[Axis]) -> dict[Axis, Poly] | None:
    """Each of ``axes`` in terms of the template's, given its ``index`` in terms of ``axes``; None where that is not so."""
    change: dict[Axis, Poly] = {}
    for poly, own in zip(index, template, strict=True):
        if own.extent is ONE:
            if poly is not ZERO:
                return None
            continue
        steps: dict[Poly, Axis] = {}
        for monomial, weight in poly.terms:
            found = [a for a in monomial if isinstance(a, Axis)]
            if len(found) != 1 or found[0] in change:
                return None
            rest = list(monomial)
            rest.remove(found[0])
            steps[Poly.build({tuple(rest): weight})] = found[0]
        step = ONE
        whole = Poly.of(own)
        while steps:
            axis = steps.pop(step, None)
            if axis is None or axis in change:
                return None
            change[axis] = whole // step if not steps else (whole // step) % axis.extent
            step = step * axis.extent
        if symbols.evaluate(step) != symbols.evaluate(own.extent):
            return None
    return change if set(change) == set(axes) else None

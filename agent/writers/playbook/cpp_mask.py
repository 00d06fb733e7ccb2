"""Conditions on positions, turned from masks into loop bounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kernelwright.agent.writers.playbook.expr import Const, Expr, Masked, Op
from kernelwright.agent.writers.playbook.index import Axis, Poly
from kernelwright.agent.writers.playbook.known import conjuncts, difference
from kernelwright.agent.writers.playbook.simplify import coefficient
from kernelwright.agent.writers.playbook.walks import expr_axes, expr_scalars, poly_axes


@dataclass(frozen=True)
class Bounds:
    """A masked value without its mask: ``value`` counts where all of ``tests`` hold and the lane is in every range."""

    value: Expr
    tests: tuple[Expr, ...]
    """Conditions that do not read the lane."""
    lower: tuple[tuple[Poly, int], ...]
    """``(rest, step)``: lane ≥ ceil(-rest / step)."""
    upper: tuple[tuple[Poly, int], ...]
    """``(rest, step)``: lane < ceil(-rest / step)."""

    def ranges(self, print_poly: Callable[[Poly], str]) -> tuple[list[str], list[str]]:
        """Lower and upper bounds of the lane as C++ text."""

        def first(rest: Poly, step: int) -> str:
            return f"fdiv(-({print_poly(rest)}) + {step - 1}, {step})"

        return [first(*b) for b in self.lower], [first(*b) for b in self.upper]


def bounds(expr: Expr, lane: Axis, outside: float) -> Bounds | None:
    """``expr`` as a value with bounds, where its masks give the constant ``outside``; None where they do not fit."""
    conditions: list[Expr] = []
    while isinstance(expr, Masked) and isinstance(expr.other, Const) and expr.other.value == outside:
        conditions += conjuncts(expr.cond)
        expr = expr.value
    if not conditions:
        return None
    tests: list[Expr] = []
    lower: list[tuple[Poly, int]] = []
    upper: list[tuple[Poly, int]] = []
    for condition in conditions:
        if expr_scalars(condition):
            return None
        if lane not in expr_axes(condition):
            tests.append(condition)
            continue
        apart = difference(condition)
        step = None if apart is None else coefficient(apart, lane)
        if apart is None or step is None or step.const is None or step.const <= 0:
            return None
        rest = apart - step * Poly.of(lane)
        if lane in poly_axes(rest) or not isinstance(condition, Op):
            return None
        (lower if condition.name == "ge" else upper).append((rest, step.const))
    return Bounds(expr, tuple(tests), tuple(lower), tuple(upper))

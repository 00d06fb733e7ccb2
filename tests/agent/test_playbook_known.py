"""Conditions that the extents of the loops decide."""

from __future__ import annotations

import itertools

import pytest

from kernelwright.agent.writers.playbook.expr import Const, Expr, Load, Masked, Op, Position
from kernelwright.agent.writers.playbook.index import Axis, Poly, Sym
from kernelwright.agent.writers.playbook.known import NO, YES, decided

N, M = Poly.of(Sym("n")), Poly.of(Sym("m"))
ROW, COLUMN, TAP = Axis("i", N), Axis("j", M), Axis("t", Poly.of(3))


def compare(name: str, a: Poly | int, b: Poly | int) -> Op:
    return Op(name, (Position(Poly.of(a)), Position(Poly.of(b))), "bool")


@pytest.mark.parametrize(
    ("condition", "outcome"),
    [
        (compare("ge", Poly.of(ROW) + 1, 1), YES),
        (compare("lt", Poly.of(ROW) + 1, N + 1), YES),
        (compare("lt", Poly.of(ROW) * M + Poly.of(COLUMN), N * M), YES),
        (compare("lt", Poly.of(ROW) * Poly.of(COLUMN), N * M), None),  # two axes in a product are not looked through
        (compare("lt", Poly.of(ROW) + Poly.of(COLUMN), N + M - 1), YES),
        (compare("lt", Poly.of(ROW) - Poly.of(COLUMN), N), YES),
        (compare("ge", Poly.of(ROW) - Poly.of(COLUMN) + M - 1, 0), YES),
        (compare("lt", Poly.of(TAP), 2), None),
        (compare("lt", Poly.of(TAP), 3), YES),
        (compare("ge", Poly.of(TAP), 3), NO),
        (compare("ge", Poly.of(ROW), 1), None),
        (compare("lt", Poly.of(ROW) + 2, N + 1), None),
        (compare("ge", Poly.of(ROW), N), NO),
        (compare("lt", Poly.of(ROW) % 4, 4), YES),
    ],
)
def test_a_comparison_is_decided_where_every_point_agrees(condition: Op, outcome: Const | None) -> None:
    assert decided(condition) == (condition if outcome is None else outcome)


def truth(condition: Op, values: dict[str, int]) -> bool:
    def value(poly: Poly) -> int:
        total = 0
        for monomial, weight in poly.terms:
            for atom in monomial:
                weight *= values[atom.name]  # type: ignore[union-attr]
            total += weight
        return total

    a, b = (value(arg.poly) for arg in condition.args if isinstance(arg, Position))
    return a >= b if condition.name == "ge" else a < b


def test_no_decision_is_wrong_at_any_point_of_small_loops() -> None:
    decisions = 0
    for name, i, j, n, m, c in itertools.product(("ge", "lt"), (-1, 0, 1), (-1, 0, 2), (-1, 0, 1), (0, 1), (-2, -1, 0, 1)):
        condition = compare(name, Poly.of(ROW) * i + Poly.of(COLUMN) * j + c, N * n + M * m)
        outcome = decided(condition)
        if not isinstance(outcome, Const):
            continue
        decisions += 1
        for size_n, size_m in itertools.product((1, 2, 4), repeat=2):
            for at_i, at_j in itertools.product(range(size_n), range(size_m)):
                assert truth(condition, {"i": at_i, "j": at_j, "n": size_n, "m": size_m}) == outcome.value, condition
    assert decisions > 50


def test_what_a_decided_condition_guards_stands_alone() -> None:
    load, zero = Load("x", Poly.of(ROW), "float"), Const(0.0, "float")
    open_, always, never = compare("ge", Poly.of(ROW), 1), compare("ge", Poly.of(ROW), 0), compare("ge", Poly.of(ROW), N)

    def masked(*conditions: Expr) -> Expr:
        cond = conditions[0]
        for further in conditions[1:]:
            cond = Op("and", (cond, further), "bool")
        return Masked(cond, load, zero, "float")

    assert decided(masked(always, always)) is load
    assert decided(masked(always, open_)) is masked(open_)
    assert decided(masked(open_, never)) is zero
    assert decided(Op("mul", (masked(always), masked(open_)), "float")) is Op("mul", (load, masked(open_)), "float")
    assert decided(Masked(Op("or", (open_, always), "bool"), load, zero, "float")) is load
    assert decided(Masked(Op("not", (always,), "bool"), load, zero, "float")) is zero

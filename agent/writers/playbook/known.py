"""Conditions on positions: what they ask of an axis, and which of them hold (or fail) at every point of the loops."""

from __future__ import annotations

from dataclasses import replace

from kernelwright.agent.writers.playbook.expr import Const, Expr, Masked, Op, Position
from kernelwright.agent.writers.playbook.index import Axis, Mod, Poly, atoms, not_negative
from kernelwright.agent.writers.playbook.ir import Loop, Nest
from kernelwright.agent.writers.playbook.simplify import coefficient
from kernelwright.agent.writers.playbook.walks import map_expr

YES, NO = Const(True, "bool"), Const(False, "bool")


def conjuncts(expr: Expr) -> list[Expr]:
    """The conditions that ``expr`` joins by and."""
    if isinstance(expr, Op) and expr.name == "and":
        return [c for a in expr.args for c in conjuncts(a)]
    return [expr]


def difference(condition: Expr) -> Poly | None:
    """``a - b`` of a comparison ``a >= b`` or ``a < b`` of positions."""
    if not isinstance(condition, Op) or condition.name not in ("ge", "lt"):
        return None
    sides = []
    for side in condition.args:
        if isinstance(side, Position):
            sides.append(side.poly)
        elif isinstance(side, Const) and side.kind == "int":
            sides.append(Poly.of(int(side.value)))
        else:
            return None
    return sides[0] - sides[1]


def known(nest: Nest) -> Nest:
    """``nest`` without the conditions that its loops' extents decide: padding that no point of an axis reaches."""

    def simpler(loop: Loop) -> Loop:
        return replace(
            loop,
            reduces=tuple(replace(r, value=decided(r.value)) for r in loop.reduces),
            scans=tuple(replace(s, value=decided(s.value)) for s in loop.scans),
            stores=tuple(replace(s, value=decided(s.value)) for s in loop.stores),
        )

    return replace(nest, phases=tuple(simpler(loop) for loop in nest.phases))


def decided(expr: Expr) -> Expr:
    """``expr`` with each condition that always holds, or never does, and what hangs on it replaced by what comes of it."""
    memo: dict[Expr, Expr] = {}

    def visit(node: Expr) -> Expr:
        if node not in memo:
            memo[node] = map_expr(node, lambda atom: None, leaf)
        return memo[node]

    def leaf(node: Expr) -> Expr | None:
        if isinstance(node, Masked):
            cond = visit(node.cond)
            if isinstance(cond, Const):
                return visit(node.value if cond.value else node.other)
            return Masked(cond, visit(node.value), visit(node.other), node.kind)
        if not isinstance(node, Op) or node.kind != "bool":
            return None
        if node.name in ("and", "or", "not"):
            return _joined(node, [visit(a) for a in node.args])
        apart = difference(node)
        return None if apart is None else _outcome(apart, node.name)

    return visit(expr)


def _joined(node: Op, args: list[Expr]) -> Expr:
    """A conjunction, disjunction or negation of conditions, some of which are constants."""
    if node.name == "not":
        return Const(not args[0].value, "bool") if isinstance(args[0], Const) else replace(node, args=tuple(args))
    ends, passes = (NO, YES) if node.name == "and" else (YES, NO)
    if any(_is(a, ends) for a in args):
        return ends
    left = [a for a in args if not _is(a, passes)]
    return replace(node, args=tuple(left)) if len(left) == len(args) else left[0] if left else passes


def _is(expr: Expr, constant: Const) -> bool:
    return isinstance(expr, Const) and bool(expr.value) == constant.value


def _outcome(apart: Poly, name: str) -> Expr | None:
    """What ``apart >= 0`` (``ge``) or ``apart < 0`` (``lt``) comes to; None where that depends on the point."""
    least, most = _extreme(apart, False), _extreme(apart, True)
    if least is not None and not_negative(least):
        return YES if name == "ge" else NO
    if most is not None and not_negative(-1 - most):
        return NO if name == "ge" else YES
    return None


def _extreme(poly: Poly, largest: bool) -> Poly | None:
    """A bound of ``poly`` over all points of its axes and remainders: not less (not more) than it, without any of them."""
    for atom in sorted((a for a in atoms(poly) if isinstance(a, (Axis, Mod))), key=lambda a: a.key):
        factor = coefficient(poly, atom)
        if factor is None or any(isinstance(a, (Axis, Mod)) for a in atoms(factor)):
            return None
        rises = not_negative(factor)
        if not rises and not not_negative(-factor):
            return None
        size = atom.extent if isinstance(atom, Axis) else atom.den
        poly = poly - factor * Poly.of(atom)
        if rises == largest:
            poly = poly + factor * (size - 1)
    return poly

"""Looking through and changing the expressions of :mod:`~kernelwright.agent.writers.playbook.ir`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from kernelwright.agent.writers.playbook.expr import Expr, Load, Masked, Op, Position, Scalar
from kernelwright.agent.writers.playbook.index import Atom, Axis, Poly, Value, atoms, rewrite
from kernelwright.agent.writers.playbook.ir import Loop, Matmul, Nest, Reduce

DEAR = frozenset(
    (
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
        "pow",
    )
) | frozenset(("erf", "erfc", "sigmoid", "asinh", "acosh", "atanh", "atan2"))
"""Operators worth not computing twice."""


def children(expr: Expr) -> tuple[Expr, ...]:
    """Direct subexpressions, including those inside loaded indices."""
    if isinstance(expr, Op):
        return expr.args
    if isinstance(expr, Masked):
        return (expr.cond, expr.value, expr.other)
    if isinstance(expr, Load):
        return _values(expr.offset)
    if isinstance(expr, Position):
        return _values(expr.poly)
    return ()


def _values(poly: Poly) -> tuple[Expr, ...]:
    return tuple(a.expr for a in sorted(atoms(poly), key=lambda a: a.key) if isinstance(a, Value))


def walk(expr: Expr) -> Iterator[Expr]:
    """``expr`` and every distinct subexpression, parents before children."""
    seen: set[Expr] = set()
    stack = [expr]
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        yield node
        stack.extend(children(node))


def loads(expr: Expr) -> list[Load]:
    """Every distinct load in ``expr``."""
    return [e for e in walk(expr) if isinstance(e, Load)]


def poly_axes(poly: Poly) -> set[Axis]:
    """Axes that ``poly`` reads, also inside loaded indices."""
    found: set[Axis] = set()
    for atom in atoms(poly):
        if isinstance(atom, Axis):
            found.add(atom)
        elif isinstance(atom, Value):
            found |= expr_axes(atom.expr)
    return found


def expr_axes(expr: Expr) -> set[Axis]:
    """Axes that ``expr`` reads, through offsets, positions and loaded indices."""
    found: set[Axis] = set()
    for node in walk(expr):
        if isinstance(node, Load):
            found |= {a for a in atoms(node.offset) if isinstance(a, Axis)}
        elif isinstance(node, Position):
            found |= {a for a in atoms(node.poly) if isinstance(a, Axis)}
    return found


def expr_scalars(expr: Expr) -> set[str]:
    """Names of the :class:`Scalar` values that ``expr`` reads."""
    return {node.name for node in walk(expr) if isinstance(node, Scalar)}


def map_poly(poly: Poly, change: Callable[[Atom], Poly | None], leaf: Callable[[Expr], Expr | None] | None = None) -> Poly:
    """``poly`` with atoms changed, also inside the expressions of loaded indices."""

    def step(atom: Atom) -> Poly | None:
        new = change(atom)
        if new is None and isinstance(atom, Value):
            return Poly.of(Value(map_expr(atom.expr, change, leaf)))
        return new

    return rewrite(poly, step)


def map_expr(expr: Expr, change: Callable[[Atom], Poly | None], leaf: Callable[[Expr], Expr | None] | None = None) -> Expr:
    """``expr`` with index atoms changed by ``change``, and whole subexpressions by ``leaf`` (its result is not visited
    again)."""
    memo: dict[Expr, Expr] = {}

    def visit(node: Expr) -> Expr:
        if node in memo:
            return memo[node]
        new = leaf(node) if leaf else None
        if new is None:
            if isinstance(node, Load):
                new = replace(node, offset=map_poly(node.offset, change, leaf))
            elif isinstance(node, Position):
                new = replace(node, poly=map_poly(node.poly, change, leaf))
            elif isinstance(node, Op):
                new = replace(node, args=tuple(visit(a) for a in node.args))
            elif isinstance(node, Masked):
                new = replace(node, cond=visit(node.cond), value=visit(node.value), other=visit(node.other))
            else:
                new = node
        memo[node] = new
        return new

    return visit(expr)


def substitute(expr: Expr, axes: dict[Axis, Poly]) -> Expr:
    """``expr`` with axes replaced by polynomials."""
    return map_expr(expr, lambda a: axes.get(a) if isinstance(a, Axis) else None)


def matmul_nest(kernel: Matmul) -> Nest:
    """The same computation as a plain nest."""
    value = Op("mul", (kernel.a, kernel.b), "float")
    return Nest(
        kernel.name,
        (*kernel.batch, kernel.m, kernel.n),
        (Loop((kernel.k,), reduces=(Reduce(kernel.acc, "sum", value, "float"),)), Loop((), stores=kernel.stores)),
    )

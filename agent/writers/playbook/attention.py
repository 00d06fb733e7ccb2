"""Products, softmax and products again in a program: attention, whatever the backend makes of it."""

from __future__ import annotations

from dataclasses import dataclass

from kernelwright.agent.writers.playbook.expr import Const, Expr, Load, Op, Position, Scalar
from kernelwright.agent.writers.playbook.index import Axis, Poly, flat
from kernelwright.agent.writers.playbook.ir import Kernel, Matmul, Nest, Program
from kernelwright.agent.writers.playbook.merge import written
from kernelwright.agent.writers.playbook.simplify import exprs_of
from kernelwright.agent.writers.playbook.walks import loads


@dataclass(frozen=True)
class Attention:
    """``result`` of a softmax along the keys of ``scores``: two products, and kernels between them that only they need."""

    scores: Matmul
    between: tuple[Kernel, ...]
    result: Matmul

    @property
    def replaced(self) -> frozenset[str]:
        """Names of the kernels that do not run where this one does, but for the last."""
        return frozenset(kernel.name for kernel in (self.scores, *self.between))

    @property
    def logits(self) -> Expr:
        """Value of a score as the softmax reads it, over the axes of ``scores`` and its sum."""
        return self.scores.stores[0].value


def attentions(program: Program) -> list[Attention]:
    """Every attention among the kernels of ``program``."""
    found = []
    for kernel in program.kernels:
        match = _match(kernel, program) if isinstance(kernel, Matmul) else None
        if match is not None:
            found.append(match)
    return found


def _match(result: Matmul, program: Program) -> Attention | None:
    weights = result.a
    if not isinstance(weights, Load) or weights.offset != flat((*result.batch, result.m, result.k)):
        return None
    last = _writer(program, weights.buffer)
    parts = _normalised(last, result.k.extent) if isinstance(last, Nest) else None
    if last is None or parts is None:
        return None
    logit, most, total = parts
    scores, sums = _writer(program, logit), _writer(program, most)
    if not isinstance(scores, Matmul) or not isinstance(sums, Nest) or _writer(program, total) is not sums:
        return None
    if not _sums_rows(sums, logit, most, total, result.k.extent) or not _fit(scores, result):
        return None
    readers = {logit: {sums.name, last.name}, most: {last.name}, total: {last.name}, weights.buffer: {result.name}}
    if any(program.buffer(b).role != "temp" or _readers(program, b) != names for b, names in readers.items()):
        return None
    works = [load for expr in (scores.a, scores.b, result.b) for load in loads(expr)]
    if not any(program.buffer(load.buffer).dtype == "work" for load in works):
        return None
    return Attention(scores, (sums, last), result)


def _fit(scores: Matmul, result: Matmul) -> bool:
    """Whether ``scores`` are stored as they are, over the points that ``result`` sums over."""
    if len(scores.stores) != 1 or scores.stores[0].offset != flat((*scores.batch, scores.m, scores.n)):
        return False
    mine, theirs = ([a.extent for a in (*k.batch, k.m)] for k in (scores, result))
    return mine == theirs and scores.n.extent == result.k.extent and scores.a.kind == result.b.kind == "float"


def _normalised(nest: Nest, length: Poly) -> tuple[str, str, str] | None:
    """Buffers of the logits, of their rows' maxima and sums, where ``nest`` writes ``exp(logit - maximum) / sum``."""
    if len(nest.outer) != 2 or len(nest.phases) != 1 or nest.phases[0].reduces or len(nest.phases[0].stores) != 1:
        return None
    (store,) = nest.phases[0].stores
    row, at = (Poly.of(axis) for axis in nest.outer)
    parts = _quotient(store.value)
    if parts is None or nest.outer[1].extent != length:
        return None
    offsets = tuple(load.offset for load in parts)
    if store.offset != row * length + at or offsets != (store.offset, row, row):
        return None
    return parts[0].buffer, parts[1].buffer, parts[2].buffer


def _quotient(value: Expr) -> tuple[Load, Load, Load] | None:
    """The loads of ``exp(logit - most) / total``."""
    if not (isinstance(value, Op) and value.name == "div" and isinstance(value.args[1], Load)):
        return None
    power = value.args[0]
    if not (isinstance(power, Op) and power.name == "exp" and isinstance(power.args[0], Op) and power.args[0].name == "sub"):
        return None
    logit, most = power.args[0].args
    return (logit, most, value.args[1]) if isinstance(logit, Load) and isinstance(most, Load) else None


def _sums_rows(nest: Nest, logit: str, most: str, total: str, length: Poly) -> bool:
    """Whether ``nest`` writes each row's maximum and its sum of exponentials, and nothing else."""
    reduces = [(loop, reduce) for loop in nest.phases for reduce in loop.reduces]
    stores = {s.buffer: s for loop in nest.phases for s in loop.stores}
    if len(reduces) != 2 or set(stores) != {most, total} or len(nest.outer) != 1 or any(loop.scans for loop in nest.phases):
        return False
    row = Poly.of(nest.outer[0])
    for (loop, reduce), kind in zip(reduces, ("max", "sum"), strict=True):
        if reduce.op != kind or len(loop.axes) != 1 or loop.axes[0].extent != length or loop.span is not None:
            return False
        element: Expr = Load(logit, row * length + Poly.of(loop.axes[0]), "float")
        if kind == "sum":
            element = Op("exp", (Op("sub", (element, Scalar(reduces[0][1].name, "float")), "float"),), "float")
        if reduce.value != element:
            return False
    wanted = {most: reduces[0][1].name, total: reduces[1][1].name}
    return all(s.offset == row and s.value == Scalar(wanted[b], "float") for b, s in stores.items())


def _writer(program: Program, buffer: str) -> Kernel | None:
    kernels = [kernel for kernel in program.kernels if buffer in written(kernel)]
    return kernels[0] if len(kernels) == 1 else None


def _readers(program: Program, buffer: str) -> set[str]:
    names = set()
    for kernel in program.kernels:
        if isinstance(kernel, Nest):
            exprs = [e for loop in kernel.phases for e in exprs_of(loop)]
        else:
            exprs = [value for value in vars(kernel).values() if isinstance(value, Expr)]
            exprs += [store.value for store in getattr(kernel, "stores", ())]
        if any(load.buffer == buffer for expr in exprs for load in loads(expr)):
            names.add(kernel.name)
    return names


def live(logits: Expr, m: Axis, n: Axis) -> tuple[Expr, int] | None:
    """Of logits that are -inf where ``n - m >= reach``: their value elsewhere, and ``reach``."""
    if not (isinstance(logits, Op) and logits.name == "where"):
        return None
    condition, yes, no = logits.args
    if isinstance(condition, Op) and condition.name == "where":  # of a mask that was written as one
        inner, one, other = condition.args
        if (one, other) != (Const(True, "bool"), Const(False, "bool")):
            return None
        condition = inner
    value, dead = (no, yes) if yes == Const(float("-inf"), "float") else (yes, no)
    if dead != Const(float("-inf"), "float") or not isinstance(condition, Op) or len(condition.args) != 2:
        return None
    sides = [_position(arg) for arg in condition.args]
    if None in sides:
        return None
    gap = sides[0] - sides[1]  # type: ignore[operator]
    rest = (gap - Poly.of(n) + Poly.of(m)).const
    turned = (gap + Poly.of(n) - Poly.of(m)).const
    alive = value is yes
    name = condition.name
    if rest is not None and name in (("le", "lt") if alive else ("ge", "gt")):  # n - m + rest against 0
        return value, -rest + (1 if name in ("le", "gt") else 0)
    if turned is not None and name in (("ge", "gt") if alive else ("le", "lt")):  # m - n + turned against 0
        return value, turned + (1 if name in ("ge", "lt") else 0)
    return None


def _position(expr: Expr) -> Poly | None:
    if isinstance(expr, Position):
        return expr.poly
    if isinstance(expr, Const) and isinstance(expr.value, int):
        return Poly.of(expr.value)
    if isinstance(expr, Op) and expr.name in ("add", "sub") and expr.kind == "int":
        left, right = (_position(arg) for arg in expr.args)
        if left is not None and right is not None:
            return left + right if expr.name == "add" else left - right
    return None

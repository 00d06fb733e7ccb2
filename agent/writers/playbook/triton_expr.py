"""Expressions of the playbook's IR as Triton text: a :class:`Scope` is a block of straight-line code and what it holds.

Tiles are two-dimensional: a value that varies along tile dimension 0 and/or 1 has shape ``[R, 1]``, ``[1, C]`` or
``[R, C]``; any other value is a Triton scalar. Offsets are in the kernel's ``IDX`` type: int32 while every buffer has fewer
than 2^31 elements.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from kernelwright.agent.writers.playbook.expr import Arg, Const, Expr, Load, Masked, Op, Position, Scalar
from kernelwright.agent.writers.playbook.index import (
    Atom,
    Axis,
    FloorDiv,
    Mod,
    Poly,
    Sym,
    Value,
    atoms,
    not_negative,
    product,
    rewrite,
)
from kernelwright.agent.writers.playbook.ir import Store
from kernelwright.agent.writers.playbook.triton_code import Code, Dims, Group, Val
from kernelwright.agent.writers.playbook.triton_math import BINARY_TEXT, UNARY_TEXT, power_text
from kernelwright.agent.writers.playbook.walks import expr_axes, poly_axes


@dataclass
class Scope:
    """A block of straight-line code: the axes bound in it, their masks, and the values it (or a block around it) holds."""

    code: Code
    axes: dict[Axis, Val] = field(default_factory=dict)
    groups: dict[Axis, Group] = field(default_factory=dict)
    """Last axis of a group -> the group, for offsets that are linear in the group's own index."""
    masks: dict[int, str] = field(default_factory=dict)
    """Tile dimension -> name of its mask."""
    parent: Scope | None = None
    texts: dict[str, str] = field(default_factory=dict)
    values: dict[tuple[Expr, str], Val] = field(default_factory=dict)
    inside: str = ""
    """Mask of the values that count, where loads reach further (realigned loops); empty: that of the loads."""
    exact: dict[Poly, Val] = field(default_factory=dict)
    """Offsets with a text of their own."""
    guard: Val = Val("")
    """Condition under which loads are in bounds, besides the tile's masks."""

    def child(self) -> Scope:
        """A block inside this one."""
        return Scope(
            self.code,
            dict(self.axes),
            dict(self.groups),
            dict(self.masks),
            self,
            inside=self.inside,
            exact=dict(self.exact),
            guard=self.guard,
        )

    # names ---------------------------------------------------------------------------------------

    def let(self, text: str) -> str:
        """A variable that holds ``text``, computed once."""
        scope: Scope | None = self
        while scope is not None:
            if text in scope.texts:
                return scope.texts[text]
            scope = scope.parent
        name = self.code.fresh()
        self.code.add(f"{name} = {text}")
        self.texts[text] = name
        return name

    def find(self, key: tuple[Expr, str]) -> Val | None:
        """The value already computed for ``key`` here or in a block around."""
        scope: Scope | None = self
        while scope is not None:
            if key in scope.values:
                return scope.values[key]
            scope = scope.parent
        return None

    def bind(self, group: Group) -> None:
        """Let the axes of ``group`` be read; its index variable has been set."""
        wide = tuple(a for a in group.axes if a.extent.const != 1)
        if group.dim is not None and len(wide) > 1:
            self.groups[wide[-1]] = replace(group, axes=wide)
        left = group.index
        for i, axis in enumerate(group.axes):
            if axis.extent.const == 1 and len(group.axes) > 1:
                self.axes[axis] = Val("0")
                continue
            rest = product(a.extent for a in group.axes[i + 1 :])
            text = left if rest.const == 1 else self.let(f"{left} // ({self.size(rest)})")
            if i:
                text = self.let(f"{text} % ({self.size(axis.extent)})")
            self.axes[axis] = Val(text, group.dims)

    # index arithmetic ------------------------------------------------------------------------------

    def size(self, poly: Poly) -> str:
        """A polynomial over symbols as text of the kernel."""
        return self.poly(poly).text

    def atom(self, atom: Atom) -> Val:
        """One factor of an offset."""
        if isinstance(atom, Sym):
            return Val(self.code.symbol(atom.name))
        if isinstance(atom, Axis):
            return self.axes[atom]
        if isinstance(atom, Value):
            value = self.expr(atom.expr)
            return Val(self.let(f"({value.text}).to(IDX)"), value.dims)
        if not isinstance(atom, (FloorDiv, Mod)):
            raise TypeError(f"{atom!r} is no atom of an offset")
        if all(isinstance(a, (Sym, FloorDiv, Mod)) for a in atoms(Poly.of(atom))):
            return Val(self.code.quotient(atom))
        num, den = self.poly(atom.num), self.poly(atom.den)
        plain = not_negative(atom.num) and not_negative(atom.den)
        if plain:
            text = f"({num.text}) {'//' if isinstance(atom, FloorDiv) else '%'} ({den.text})"
        else:
            name = "kw_floordiv" if isinstance(atom, FloorDiv) else "kw_mod"
            text = f"{name}({num.text}, {den.text})"
        dims = num.dims | den.dims
        return Val(self.let(text), dims)

    def poly(self, poly: Poly) -> Val:
        """``poly`` as text: scalar terms first, then each tile dimension's, so that broadcasts stay small."""
        if poly.const is not None:
            return Val(str(poly.const))
        if poly in self.exact:
            return self.exact[poly]
        poly = self._linear(poly)
        parts: dict[Dims, list[str]] = {}
        for monomial, weight in poly.terms:
            factors = [self.atom(a) for a in monomial]
            dims = frozenset().union(*(f.dims for f in factors))
            scalars = [f"({f.text})" if " " in f.text else f.text for f in factors if not f.dims]
            vectors = [f.text for f in factors if f.dims]
            if weight != 1 or not factors:
                scalars.append(str(weight) if weight >= 0 else f"({weight})")
            head = " * ".join(scalars)
            text = " * ".join(([f"({head})" if len(scalars) > 1 and vectors else head] if scalars else []) + vectors)
            parts.setdefault(dims, []).append(text)
        texts = []
        for dims in sorted(parts, key=lambda d: (len(d), sorted(d))):
            text = " + ".join(parts[dims])
            texts.append(f"({text})" if len(parts[dims]) > 1 and len(parts) > 1 else text)
        return Val(" + ".join(texts), frozenset().union(*parts))

    def _linear(self, poly: Poly) -> Poly:
        """``poly`` in terms of a group's own index where that is shorter: ``i*M + j`` is the flat index."""
        for axis in poly_axes(poly) & set(self.groups):
            group = self.groups[axis]
            flat = Axis(group.index, group.extent)
            self.axes[flat] = Val(group.index, group.dims)
            rest = Poly.of(flat)
            step = axis.extent
            for other in reversed(group.axes[:-1]):
                rest = rest - step * Poly.of(other)
                step = step * other.extent
            new = rewrite(poly, lambda a, axis=axis, rest=rest: rest if a == axis else None)  # type: ignore[misc]
            if len(new.terms) < len(poly.terms):
                poly = new
        return poly

    # expressions -----------------------------------------------------------------------------------

    def mask(self, dims: Dims) -> Val:
        """What must hold for a load or store that varies along ``dims``: inside the tile, and the guard of a Masked around."""
        names = [self.masks[d] for d in sorted(dims) if d in self.masks]
        spread = frozenset(d for d in dims if d in self.masks)
        if self.guard.text:
            guard = self.guard.text
            if names and not self.guard.dims:
                guard = self._spread(guard)
            names.append(guard)
            spread |= self.guard.dims
        return Val(self.let(" & ".join(names)) if len(names) > 1 else "".join(names), spread)

    def _spread(self, condition: str) -> str:
        """A scalar condition as a block: Triton's interpreter makes a number of one that meets a block's."""
        return self.let(f"tl.where({condition}, 1, 0) + tl.zeros([1, 1], tl.int32) != 0")

    def expr(self, expr: Expr) -> Val:
        """The value of ``expr``, computed here unless it is already there."""
        key = (expr, self.guard.text if _guarded(expr) else "")
        known = self.find(key)
        if known is None:
            known = self._compute(expr)
            self.values[key] = known
        return known

    def _compute(self, expr: Expr) -> Val:
        if isinstance(expr, Const):
            return Val(const_text(expr.value))
        if isinstance(expr, Arg):
            return Val(self.code.number(expr.name))
        if isinstance(expr, Position):
            index = self.poly(expr.poly)
            return Val(self.let(f"({index.text}) + tl.zeros([], tl.int64)"), index.dims)
        if isinstance(expr, Load):
            return self._load(expr)
        if isinstance(expr, Masked):
            return self._masked(expr)
        if isinstance(expr, Op):
            return self._op(expr)
        raise KeyError(f"{expr!r} is read before it is computed")

    def pointer(self, buffer: str, offset: Poly) -> Val:
        """The address of an element."""
        index = self.poly(offset)
        return Val(f"{self.code.buffer(buffer)} + ({index.text})", index.dims)

    def _load(self, expr: Load, other: str = "0") -> Val:
        address = self.pointer(expr.buffer, expr.offset)
        mask = self.mask(address.dims)
        dims = address.dims | mask.dims
        where = address.text
        if dims != address.dims:  # the guard varies where the address does not
            where = f"{where} + tl.where({mask.text}, 0, 0)"
        guard = f", mask={mask.text}, other={other}" if mask.text else ""
        text = f"tl.load({where}{guard})"
        if expr.kind == "float":
            text += ".to(tl.float32)"
        elif expr.kind == "int":
            text += ".to(tl.int64)"
        elif self.code.program.buffer(expr.buffer).dtype != "bool":
            text = f"({text} != 0)"
        return Val(self.let(text), dims)

    def _masked(self, expr: Masked) -> Val:
        cond = self.expr(expr.cond)
        other = self.expr(expr.other)
        outside = self.guard
        both = self.let(f"{outside.text} & {cond.text}") if outside.text else self.let(cond.text)
        self.guard = Val(both, outside.dims | cond.dims)
        loaded = self._loaded_or(expr)
        value = self.expr(expr.value) if loaded is None else loaded
        self.guard = outside
        if loaded is not None:
            return Val(value.text, cond.dims | value.dims)
        return Val(self.let(f"tl.where({cond.text}, {value.text}, {other.text})"), cond.dims | value.dims | other.dims)

    def _loaded_or(self, expr: Masked) -> Val | None:
        """``expr`` as one load that gives the other value by itself, where it can: a load, else a constant of every dtype."""
        if not isinstance(expr.value, Load) or not isinstance(expr.other, Const) or self.find((expr.value, self.guard.text)):
            return None
        everywhere = expr.kind == "float" and (expr.other.value == 0 or math.isinf(expr.other.value))
        return self._load(expr.value, const_text(expr.other.value)) if everywhere else None

    def _compared(self, expr: Expr) -> Val:
        """An operand of a comparison: positions stay in the index type."""
        return self.poly(expr.poly) if isinstance(expr, Position) else self.expr(expr)

    def _op(self, expr: Op) -> Val:
        name = expr.name
        if name in ("eq", "ne", "lt", "le", "gt", "ge") or (name == "float" and isinstance(expr.args[0], Position)):
            args = [self._compared(a) for a in expr.args]
        else:
            args = [self.expr(a) for a in expr.args]
        dims = frozenset().union(*(a.dims for a in args))
        texts = [a.text if a.text.isidentifier() else f"({a.text})" for a in args]
        kind = expr.args[-1].kind
        if dims and kind == "bool" and name in ("and", "or"):
            texts = [t if a.dims else self._spread(t) for t, a in zip(texts, args, strict=True)]
        if not any(a.dims for a in args) and name not in ("where",):
            texts = [self._tensor(t, a) for t, a in zip(texts, expr.args, strict=True)]
        if name == "where":
            return Val(self.let(f"tl.where({', '.join(texts)})"), dims)
        if name == "pow":
            return Val(self.let(power_text(texts, expr)), dims)
        table = UNARY_TEXT if len(texts) == 1 else BINARY_TEXT
        form = table[name]
        text = form if isinstance(form, str) else form[kind]
        return Val(self.let(text.format(*texts)), dims)

    def _tensor(self, text: str, expr: Expr) -> str:
        """A literal as a Triton scalar, since functions such as ``tl.exp`` take no Python number."""
        if isinstance(expr, Const):
            kind = {"float": "tl.float32", "int": "tl.int64", "bool": "tl.int1"}[expr.kind]
            return self.let(f"tl.full([], {const_text(expr.value)}, {kind})")
        if isinstance(expr, (Arg, Position)) and expr.kind == "float":
            return self.let(f"{text} + tl.zeros([], tl.float32)")
        return text

    def store(self, store: Store) -> None:
        """Write ``store`` for every point of the tile."""
        value = self.expr(store.value)
        address = self.pointer(store.buffer, store.offset)
        dims = address.dims | value.dims
        mask = self.mask(dims)
        buffer = self.code.program.buffer(store.buffer)
        text, element = value.text, f"p_{buffer.name}.dtype.element_ty"
        if isinstance(store.value, Const):
            text = self.let(f"tl.full([], {text}, {element})")
        elif buffer.dtype != "bool" and not isinstance(store.value, Arg):
            text = f"{text}.to({element})" if text.isidentifier() else f"({text}).to({element})"
        guard = f", mask={mask.text}" if mask.text else ""
        self.code.add(f"tl.store({address.text}, {text}{guard})")

    def invariants(self, roots: Sequence[Expr], moving: set[Axis], running: set[str]) -> None:
        """Compute here what ``roots`` need that reads neither ``moving`` axes nor ``running`` scalars."""
        for root in roots:
            self._hoist(root, moving, running)

    def _hoist(self, expr: Expr, moving: set[Axis], running: set[str]) -> None:
        if isinstance(expr, Const):
            return
        if not (expr_axes(expr) & moving) and not _reads(expr, running):
            self.expr(expr)
            return
        if isinstance(expr, Op):
            for arg in expr.args:
                self._hoist(arg, moving, running)
        elif isinstance(expr, Masked):
            self._hoist(expr.cond, moving, running)
            self._hoist(expr.other, moving, running)


def _reads(expr: Expr, names: set[str]) -> bool:
    if isinstance(expr, Scalar):
        return expr.name in names
    if isinstance(expr, Op):
        return any(_reads(a, names) for a in expr.args)
    if isinstance(expr, Masked):
        return any(_reads(a, names) for a in (expr.cond, expr.value, expr.other))
    return False


def _guarded(expr: Expr) -> bool:
    """Whether the value depends on the guard around it: it loads."""
    if isinstance(expr, Load):
        return True
    if isinstance(expr, Op):
        return any(_guarded(a) for a in expr.args)
    if isinstance(expr, Masked):
        return any(_guarded(a) for a in (expr.cond, expr.value, expr.other))
    if isinstance(expr, Position):
        return any(isinstance(a, Value) for m, _ in expr.poly.terms for a in m)
    return False


def const_text(value: float | int | bool) -> str:
    """A literal as Triton text."""
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    return repr(value)

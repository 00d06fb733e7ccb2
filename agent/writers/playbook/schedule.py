"""Definitions to kernels: what is computed where, so that few loops over memory remain.

One pass builds a kernel for every definition that must be in memory (``realised``). What stands in the way of a fusion
raises :class:`Need` for a further definition, and the pass starts again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from kernelwright.agent.writers.playbook.defs import Convolution, Def, Fourier, Map, Mat, Put, Red, Run, Sorted, kind_of, point
from kernelwright.agent.writers.playbook.expr import Expr, Load, Masked, Op, Ref, Scalar
from kernelwright.agent.writers.playbook.graph import Symbols, Unsupported
from kernelwright.agent.writers.playbook.index import ONE, ZERO, Axis, Poly, product, strides
from kernelwright.agent.writers.playbook.ir import (
    Buffer,
    Conv,
    Kernel,
    Loop,
    Matmul,
    Nest,
    Order,
    Scan,
    Scatter,
    Spectrum,
    Store,
)
from kernelwright.agent.writers.playbook.rows import Need, Rows, axes_of, invert, refs
from kernelwright.agent.writers.playbook.simplify import move, move_poly, split_all, tidy
from kernelwright.agent.writers.playbook.walks import DEAR, map_poly, walk


@dataclass
class Scheduler:
    """Builds the kernels for ``roots``: definition -> (buffer, dtype) to be written."""

    defs: list[Def]
    symbols: Symbols
    roots: dict[int, str]
    """Definitions that are results -> dtype of their buffer."""
    buffers: dict[int, Buffer] = field(default_factory=dict)
    realised: set[int] = field(default_factory=set)
    users: dict[int, set[int]] = field(default_factory=dict)
    """Definition -> kernels (by the definition they write) in which it was computed."""
    _current: int = -1
    _bodies: dict[Expr, Expr] = field(default_factory=dict)

    def run(self) -> list[Kernel]:
        """The kernels in order.

        Raises:
            Unsupported: a form that no kernel covers.
        """
        self.realised = set(self.roots)
        for _ in range(len(self.defs) + 2):
            self.buffers = {n: self._buffer(n) for n in sorted(self.realised)}
            self.users, self._bodies = {}, {}
            try:
                kernels = [k for n in sorted(self.realised) for k in self._kernels(n)]
                self._no_dear_twins()
                return kernels
            except Need as need:
                if need.number in self.realised:
                    raise Unsupported(f"definition {need.number} cannot be scheduled") from need
                self.realised.add(need.number)
        raise Unsupported("the graph cannot be scheduled")

    def _buffer(self, n: int) -> Buffer:
        d = self.defs[n]
        if n in self.roots:
            return Buffer(f"y{n}", d.shape, self.roots[n], "output")
        dtype = d.dtype
        if dtype == "work" and (isinstance(d.rule, Red) or (d.shape and d.shape[-1].const == 1)):
            dtype = "float32"  # one value a row: rounded, it would put the same error on all of the row
        return Buffer(f"y{n}", d.shape, dtype, "temp")

    def _no_dear_twins(self) -> None:
        """Definitions with transcendental work or reductions are computed in one kernel only."""
        for n in sorted(self.users, reverse=True):
            if len(self.users[n]) > 1 and n not in self.realised and self.hint(product(self.defs[n].shape)) > 1:
                d = self.defs[n]
                if isinstance(d.rule, Red) or (isinstance(d.rule, Map) and self._dear(d)):
                    raise Need(n)

    def _dear(self, d: Def) -> bool:
        body = self.expand(Ref(d.number, point(d.axes), kind_of(d.dtype)), record=False)
        nodes = list(walk(body))
        return sum(isinstance(e, Op) and e.name in DEAR for e in nodes) > 0 or any(isinstance(e, Ref) for e in nodes)

    def hint(self, poly: Poly) -> int:
        """The size at the first traced shape."""
        return self.symbols.evaluate(poly)[0]

    # expressions

    def expand(self, expr: Expr, record: bool = True) -> Expr:
        """Elementwise definitions inlined, those in memory loaded; references to reductions and templates stay."""
        return move(expr, {}, lambda node: self._resolve(node, record))

    def _resolve(self, node: Expr, record: bool) -> Expr | None:
        if not isinstance(node, Ref):
            return None
        d = self.defs[node.number]
        index = tuple(map_poly(p, lambda a: None, lambda e: self.expand(e, record)) for p in node.index)
        if node.number in self.buffers and node.number != self._current:
            offset = sum((i * s for i, s in zip(index, strides(d.shape), strict=True)), ZERO)
            return Load(self.buffers[node.number].name, offset, node.kind)
        if record:
            self.users.setdefault(node.number, set()).add(self._current)
        if not isinstance(d.rule, Map):
            return Ref(node.number, index, node.kind)
        body = self.expand(d.rule.body, record)
        return move(body, dict(zip(d.axes, index, strict=True)))

    # kernels

    def _kernels(self, n: int) -> list[Kernel]:
        d = self.defs[n]
        self._current = n
        offset = sum((i * s for i, s in zip(point(d.axes), strides(d.shape), strict=True)), ZERO)
        axes = tuple(a for a in d.axes if a.extent is not ONE)
        name = self.buffers[n].name
        if isinstance(d.rule, Map):
            return [self._map(n, axes, self.expand(d.rule.body), name, offset)]
        if isinstance(d.rule, Put):
            return self._put(d, axes, d.rule, name, offset)
        if isinstance(d.rule, Fourier):
            return [self._spectrum(d, d.rule, name)]
        kind = kind_of(d.dtype)
        own = Ref(n, point(d.axes), kind)
        return [self._map(n, axes, own, name, offset)]

    def _put(self, d: Def, axes: tuple[Axis, ...], rule: Put, name: str, offset: Poly) -> list[Kernel]:
        start = self._map(d.number, axes, self.expand(rule.start), name, offset)
        value = self.expand(rule.value)
        target = map_poly(rule.offset, lambda a: None, self.expand)
        guard = None if rule.guard is None else self.expand(rule.guard)
        for e in [value, *([guard] if guard is not None else []), *[x for p in (target,) for x in _values(p)]]:
            if heavy := refs(e):
                raise Need(self._pick(value, heavy[0].number))
        change = {a: Poly.of(Axis(f"i{k}", a.extent)) for k, a in enumerate(rule.over)}
        moved = tuple(Axis(f"i{k}", a.extent) for k, a in enumerate(rule.over))
        kept = None if guard is None else move(guard, change)
        return [start, Scatter(f"k{d.number}s", moved, name, move_poly(target, change), move(value, change), rule.op, kept)]

    def _map(self, n: int, axes: tuple[Axis, ...], body: Expr, buffer: str, offset: Poly) -> Kernel:
        """The kernel that stores ``body`` at ``offset`` for all ``axes``."""
        axes, (body,), (offset,) = split_all(axes, [body], [offset])
        heavy = refs(body)
        template = next((r for r in heavy if isinstance(self.defs[r.number].rule, (Mat, Convolution, Run, Sorted))), None)
        put = next((r for r in heavy if isinstance(self.defs[r.number].rule, (Put, Fourier))), None)
        if put is not None:
            raise Need(put.number)
        if template is not None:
            return self._template(n, template, axes, Store(buffer, offset, body))
        return self._nest(n, axes, Store(buffer, offset, body))

    def _nest(self, n: int, axes: tuple[Axis, ...], store: Store) -> Nest:
        heavy = refs(store.value)
        used = [axes_of(r) for r in heavy]
        outer_set = max(used, key=lambda u: (len(u), self.hint(product(a.extent for a in u))), default=set(axes))
        if heavy and not outer_set and axes:
            raise Need(self.pick_root(n, heavy[0]))
        outer = tuple(a for a in axes if a in outer_set)
        inner = tuple(a for a in axes if a not in outer_set)
        rows = Rows(self, n, outer)
        if inner:
            rows.share[tuple(a.extent for a in inner)] = inner
        value = rows.resolve(store.value, 0)
        last = Loop(inner, stores=(Store(store.buffer, store.offset, value),))
        return Nest(f"k{n}", outer, (*rows.phases(), last))

    def _template(self, n: int, ref: Ref, axes: tuple[Axis, ...], store: Store) -> Kernel:
        d = self.defs[ref.number]
        if len(self.users.get(ref.number, ())) > 1 and ref.number != n:
            raise Need(ref.number)
        change = invert(self.symbols, ref.index, d.axes, axes)
        others = [r for r in refs(store.value) if r is not ref]
        if change is None or others:
            if ref.number == n:
                raise Unsupported("a template that cannot be scheduled")
            raise Need(self.pick_root(n, (others or [ref])[0]) if others and change is not None else ref.number)
        offset = move_poly(store.offset, change)
        acc = Scalar("acc", ref.kind)
        value = move(store.value, change, lambda e: acc if e is ref else None)
        done = Store(store.buffer, offset, value)
        rule = d.rule
        if isinstance(rule, Mat):
            return self._matmul(n, d, rule, done)
        if isinstance(rule, Convolution):
            return self._conv(n, d, rule, done)
        if isinstance(rule, Sorted):
            return self._order(n, d, rule, done)
        assert isinstance(rule, Run)
        return self._run(n, d, rule, done)

    def _plain(self, body: Expr, light: bool) -> Expr:
        """An operand expanded; what is too dear for a prologue goes to memory first."""
        value = self.expand(body)
        if heavy := refs(value):
            raise Need(self._pick(body, heavy[0].number))
        nodes = list(walk(value))
        if light and (any(isinstance(e, (Masked,)) or (isinstance(e, Op) and e.name in DEAR) for e in nodes) or len(nodes) > 8):
            direct = self._outermost(body)
            if direct is not None:
                raise Need(direct)
        return value

    def _outermost(self, body: Expr) -> int | None:
        for node in walk(body):
            if isinstance(node, Ref) and isinstance(self.defs[node.number].rule, Map) and node.number not in self.realised:
                return node.number
        return None

    def _matmul(self, n: int, d: Def, rule: Mat, store: Store) -> Kernel:
        a, b = self._plain(rule.a, True), self._plain(rule.b, True)
        batch = tuple(x for x in d.axes[:-2] if x.extent is not ONE)
        return Matmul(f"k{n}", batch, d.axes[-2], d.axes[-1], rule.k, a, b, "acc", (store,))

    def _conv(self, n: int, d: Def, rule: Convolution, store: Store) -> Kernel:
        x, w = self._plain(rule.x, True), self._plain(rule.w, True)
        geometry = (rule.positions, rule.inputs, rule.stride, rule.padding, rule.dilation, rule.transposed)
        return Conv(
            f"k{n}", rule.batch, rule.group, rule.oc, rule.spatial, rule.ic, rule.taps, *geometry, x, w, "acc", (store,)
        )

    def _run(self, n: int, d: Def, rule: Run, store: Store) -> Kernel:
        outer = tuple(a for a in d.axes if a is not rule.along and a.extent is not ONE)
        rows = Rows(self, n, outer)
        rows.share[(rule.along.extent,)] = (rule.along,)
        value = rows.resolve(self.expand(rule.body), 0)
        at = Poly.of(rule.along)
        scan = Scan("acc", rule.op, value, value.kind, rule.reverse, at if rule.position else None)
        if rule.position:
            place = Scalar("acc_at", "int")
            taken = move(store.value, {}, lambda e: place if isinstance(e, Scalar) and e.name == "acc" else None)
            store = Store(store.buffer, store.offset, taken)
        return Nest(f"k{n}", outer, (*rows.phases(), Loop((rule.along,), scans=(scan,), stores=(store,))))

    def _order(self, n: int, d: Def, rule: Sorted, store: Store) -> Order:
        outer = tuple(a for a in d.axes if a is not rule.rank and a.extent is not ONE)
        value = self._plain(rule.body, True)
        return Order(f"k{n}", outer, rule.along, rule.rank, value, rule.descending, rule.position, "acc", (store,))

    def _spectrum(self, d: Def, rule: Fourier, buffer: str) -> Spectrum:
        outer = d.axes[:-2]
        value = self._plain(rule.body, False)
        lie = strides((*[a.extent for a in outer], rule.along.extent))
        plain = sum((Poly.of(a) * s for a, s in zip((*outer, rule.along), lie, strict=True) if a.extent is not ONE), ZERO)
        if not isinstance(value, Load) or tidy(value.offset) is not plain:
            direct = self._outermost(rule.body)
            if direct is None:
                raise Unsupported("a Fourier transform of what is not contiguous has no template")
            raise Need(direct)
        return Spectrum(f"k{d.number}", product(a.extent for a in outer), rule.along.extent, value, buffer)

    # what to put in memory

    def pick_root(self, n: int, ref: Ref) -> int:
        rule = self.defs[n].rule
        body = rule.start if isinstance(rule, Put) else rule.body if isinstance(rule, (Map, Red, Run, Sorted)) else None
        return self._pick(body, ref.number) if body is not None else ref.number

    def _pick(self, body: Expr, number: int) -> int:
        """The outermost elementwise definition from ``body`` down to ``number`` that is no larger than ``number``, or
        itself."""
        target = self.defs[number]
        limit = self.hint(product(target.shape))
        queue = [e for e in walk(body) if isinstance(e, Ref)]
        seen: set[int] = set()
        while queue:
            ref = queue.pop(0)
            d = self.defs[ref.number]
            if ref.number in seen or ref.number in self.realised or ref.number < number:
                continue
            seen.add(ref.number)
            if ref.number == number:
                continue
            inside = rule_refs(d)
            if isinstance(d.rule, Map) and self.hint(product(d.shape)) <= limit and self._reaches(ref.number, number):
                return ref.number
            queue.extend(inside)
        return number

    def _reaches(self, start: int, number: int) -> bool:
        expanded = self.expand(self.defs[start].rule.body, record=False)  # type: ignore[union-attr]
        return any(r.number == number for r in refs(expanded))


def rule_refs(d: Def) -> list[Ref]:
    """Direct references of an elementwise definition or reduction."""
    rule = d.rule
    if isinstance(rule, (Map, Red, Run, Sorted)):
        return [e for e in walk(rule.body) if isinstance(e, Ref)]
    return []


def _values(poly: Poly) -> list[Expr]:
    return [e for e in walk(Load("", poly, "int"))][1:]

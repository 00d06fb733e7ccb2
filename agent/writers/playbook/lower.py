"""ATen calls to definitions: the registry, and what every rule needs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kernelwright.agent.writers.playbook.defs import (
    Complex,
    Defs,
    Index,
    Map,
    Red,
    Tensor,
    as_kind,
    kind_of,
    num,
    op,
    point,
    source,
)
from kernelwright.agent.writers.playbook.expr import Expr, Kind, Position, Ref
from kernelwright.agent.writers.playbook.graph import Call, Graph, Symbols, Unsupported, varies
from kernelwright.agent.writers.playbook.index import ONE, ZERO, Poly, product, strides
from kernelwright.agent.writers.playbook.ir import Buffer, Guard
from kernelwright.agent.writers.playbook.simplify import FEW, move
from kernelwright.agent.writers.playbook.walks import walk

Value = Any
"""A tensor, a tuple of values, or a Python value."""
Args = Mapping[str, Any]
"""A call's arguments by the operator's own names."""
Rule = Callable[["Lowering", Args, Call], Value]
RULES: dict[str, Rule] = {}
"""ATen operator (``name`` or ``name.overload``) -> how it is lowered."""


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a rule for ATen operators: for all overloads, or for ``name.overload``."""

    def register(function: Rule) -> Rule:
        for name in names:
            RULES[name] = function
        return function

    return register


def work(dtype: str) -> str:
    """A traced dtype as the program's: fp32 stands for the dtype that the task runs in."""
    return "work" if dtype == "float32" else dtype


@dataclass
class Lowering:
    """One graph on its way to definitions."""

    graph: Graph
    defs: Defs = field(default_factory=Defs)
    buffers: dict[str, Buffer] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    equal: list[tuple[Poly, Poly]] = field(default_factory=list)
    """Relations that the traced shapes have and the kernels rely on."""
    conditions: list[Guard] = field(default_factory=list)
    """What else the kernels rely on."""

    @property
    def symbols(self) -> Symbols:
        return self.graph.symbols

    def run(self) -> None:
        """Lower every call of the graph.

        Raises:
            Unsupported: an operator without a template.
        """
        for number, entry in enumerate(self.graph.tensors):
            self._source(number, entry)
        for scalar in self.graph.scalars:
            self.values[scalar["node"]] = scalar["value"]
        for call in self.graph.calls:
            self.values[call.name] = self._call(call)

    def _source(self, number: int, entry: Mapping[str, Any]) -> None:
        role, name = entry["role"], f"t{number}"
        data = entry.get("data")
        if role == "const" and data is None:
            raise Unsupported(f"a constant tensor of shape {entry['shape']} in forward")
        of = name if role == "const" else entry["source"]
        shape = tuple(self.symbols.dimension(f"{of}.shape[{i}]", d) for i, d in enumerate(entry["shape"]))
        dtype = work(entry["dtype"])
        if dtype not in ("work", "float64", "int64", "int32", "int16", "int8", "uint8", "bool"):
            raise Unsupported(f"a tensor of dtype {dtype}")
        literal = tuple(float(d["float"]) if isinstance(d, dict) else d for d in data or ())
        self.buffers[name] = Buffer(name, shape, dtype if role != "const" else entry["dtype"], role, entry["source"], literal)
        self.values[entry["node"]] = source(name, shape, dtype, strides(shape))

    def _call(self, call: Call) -> Value:
        if call.op == "getitem":
            return self.values[call.args["self"]["node"]][call.args["index"]]
        full = call.op.removeprefix("aten.")
        found = RULES.get(full) or RULES.get(full.split(".")[0])
        if found is None or not call.op.startswith("aten."):
            raise Unsupported(f"operator {call.op.replace('aten.', 'aten::').removesuffix('.default')} has no template")
        given = {k: self.value(v) for k, v in call.args.items()}
        if any(isinstance(v, Complex) for v in given.values()) and not full.startswith("view_as_real"):
            raise Unsupported(f"operator aten::{full.removesuffix('.default')} of complex values has no template")
        try:
            result = found(self, given, call)
        except TypeError as error:  # a dimension or the like that follows from the sizes: rules reckon with plain numbers there
            if not any(map(varies, given.values())):
                raise
            raise Unsupported(f"{call.op} takes another number in each shape where its template needs one") from error
        self._check(call, result, call.out)
        return result

    def _check(self, call: Call, result: Value, out: Any) -> None:
        """The shape rules against what was traced: a wrong one must never reach a kernel."""
        if isinstance(result, tuple):
            for one, meta in zip(result, out, strict=False):
                self._check(call, one, meta)
        elif isinstance(result, Tensor) and isinstance(out, dict):
            ours = [self.symbols.evaluate(s) for s in result.shape]
            data = dict(enumerate(ours))  # what only data tells, the rule decides
            traced = [data.get(i) if v is None else self.symbols.values_of(v) for i, v in enumerate(out["shape"])]
            if ours != traced:
                raise Unsupported(f"the shape of {call.op} is {traced}, not {ours} as its rule says")

    def value(self, value: Any) -> Value:
        """An argument with its nodes looked up."""
        if isinstance(value, dict) and "node" in value:
            return self.values[value["node"]]
        if isinstance(value, list):
            return [self.value(v) for v in value]
        return value

    # what rules use

    def expr(self, value: Any) -> Expr:
        """A number argument as an expression."""
        if isinstance(value, Tensor):
            return value.at(tuple(ZERO for _ in value.shape))
        return self.symbols.scalar(value)

    def dtype(self, call: Call, result: int | None = None) -> str:
        """The program's dtype of a call's result."""
        out = call.out if result is None else call.out[result]
        return work(out["dtype"])

    def size(self, value: Any, near: Index = ()) -> Poly:
        """A size argument."""
        return self.symbols.size(value, near)

    def number(self, value: Any) -> Poly:
        """An integer argument that is no size: strides, groups, paddings."""
        return self.symbols.number(value)

    def hint(self, poly: Poly) -> int:
        """The value of ``poly`` at the first trace."""
        return self.symbols.evaluate(poly)[0]

    def same(self, a: Poly, b: Poly) -> bool:
        """Whether two sizes are equal in all traces; relies on it from then on."""
        if a is b:
            return True
        if self.symbols.evaluate(a) == self.symbols.evaluate(b):
            self.equal.append((a, b))
            return True
        return False

    def broadcast(self, *shapes: Index) -> Index:
        """The common shape.

        Raises:
            Unsupported: a dimension that is 1 in some traces only.
        """
        rank = max((len(s) for s in shapes), default=0)
        result = []
        for i in range(rank):
            size = ONE
            for shape in shapes:
                if i < rank - len(shape):
                    continue
                d = shape[i - (rank - len(shape))]
                if d is ONE or d is size:
                    continue
                if size is ONE:
                    size = d
                elif not self.same(size, d):
                    raise Unsupported("dimensions that broadcast in some shapes only")
                elif d.const is not None:
                    size = d
            result.append(size)
        return tuple(result)

    def pointwise(self, dtype: str, body: Callable[..., Expr], *args: Any) -> Tensor:
        """``body`` of the arguments' elements, tensors broadcast."""
        tensors = [a for a in args if isinstance(a, Tensor)]
        shape = self.broadcast(*[t.shape for t in tensors])
        plain = [None if isinstance(a, Tensor) else self.expr(a) for a in args]

        def at(index: Index) -> Expr:
            given = [element(a, index) if isinstance(a, Tensor) else p for a, p in zip(args, plain, strict=True)]
            return body(*given)

        grouped = tensors[0].whole if len(tensors) == 1 else None
        if grouped is not None and self._computed(grouped):  # over the shape that knows what it was computed by
            place = tensors[0].place
            given = [grouped if a is tensors[0] else a for a in args]
            whole = self.pointwise(dtype, body, *given)
            return Tensor(shape, dtype, lambda index: whole.at(place(index) if place else index), whole, place)
        return self.defs.map(shape, dtype, at)

    def _computed(self, x: Tensor) -> bool:
        """Whether the tensor is a definition by a value for each element."""
        axes = self.defs.axes(x.shape)
        found = x.at(point(axes))
        return isinstance(found, Ref) and isinstance(self.defs.items[found.number].rule, Map)

    def reduce(self, x: Tensor, dims: list[int], keep: bool, how: tuple[str, str], body: Callable[[Expr], Expr]) -> Tensor:
        """``how = (op, dtype)``: the reduction of ``body(x)`` over ``dims`` (all for none)."""
        rank = len(x.shape)
        over = sorted({d % rank for d in dims}) if dims and rank else list(range(rank))
        axes = self.defs.axes(x.shape)
        inner = tuple(axes[d] for d in over)
        outer = tuple(a for d, a in enumerate(axes) if d not in over)
        operator, dtype = how
        kind: Kind = "float" if operator.startswith("arg") else kind_of(dtype)
        value = body(x.at(point(axes)))
        at = None
        if operator.startswith("arg"):
            shape = tuple(a.extent for a in inner)
            at = sum((p * s for p, s in zip(point(inner), strides(shape), strict=True)), ZERO)
            kind = value.kind
        real = tuple(a for a in inner if a.extent is not ONE)
        count = product(a.extent for a in real).const
        if len(real) == 1 and outer and operator == "sum" and count is not None and count <= FEW and self._light(value):
            terms = [move(as_kind(value, kind), {real[0]: Poly.of(i)}) for i in range(count)]
            result = self.defs.add(outer, dtype, Map(functools.reduce(lambda a, b: op("add", a, b), terms)))
        elif real:
            result = self.defs.add(outer, dtype, Red(operator, real, as_kind(value, kind), at))
        else:  # over one element there is nothing to do
            result = self.defs.add(outer, dtype, Map(num(0) if operator.startswith("arg") else as_kind(value, kind)))
        return unsqueeze(result, over) if keep else result

    def _light(self, value: Expr) -> bool:
        """Whether ``value`` is elementwise work all the way down, so that a few copies of it cost little."""
        used = [self.defs.items[e.number].rule for e in walk(value) if isinstance(e, Ref)]
        return all(isinstance(rule, Map) and self._light(rule.body) for rule in used)

    def count(self, x: Tensor, dims: list[int]) -> Poly:
        """How many elements a reduction over ``dims`` takes."""
        rank = len(x.shape)
        over = {d % rank for d in dims} if dims and rank else set(range(rank))
        return product(s for d, s in enumerate(x.shape) if d in over)

    def mean(self, x: Tensor, dims: list[int], keep: bool, body: Callable[[Expr], Expr] = lambda e: e) -> Tensor:
        """The mean of ``body(x)`` over ``dims``."""
        total = self.reduce(x, dims, keep, ("sum", "float32"), lambda e: as_kind(body(e), "float"))
        count = self.count(x, dims)
        return self.defs.map(total.shape, "float32", lambda i: op("div", total.at(i), size_float(count)))


def size_float(poly: Poly) -> Expr:
    """A size as a float."""
    if poly.const is not None:
        return num(poly.const)
    return as_kind(Position(poly), "float")


def element(x: Tensor, index: Index) -> Expr:
    """Element of ``x`` broadcast to the shape that ``index`` runs over."""
    own = index[len(index) - len(x.shape) :] if x.shape else ()
    return x.at(tuple(ZERO if s is ONE else i for i, s in zip(own, x.shape, strict=True)))


def unsqueeze(x: Tensor, dims: list[int]) -> Tensor:
    """``x`` with dimensions of extent 1 at positions ``dims`` (ascending) of the result."""
    shape = list(x.shape)
    for d in dims:
        shape.insert(d, ONE)
    kept = [d for d in range(len(shape)) if d not in dims]
    return Tensor(tuple(shape), x.dtype, lambda index: x.at(tuple(index[d] for d in kept)))


def axis_of(x: Tensor, dim: int) -> int:
    """``dim`` counted from the front."""
    return int(dim) % max(len(x.shape), 1)

"""Several traces of one reference, made one graph whose integers are sizes: symbols, products of them, or constants."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kernelwright.agent.writers.playbook.expr import Arg, Const, Expr, Op, Position
from kernelwright.agent.writers.playbook.index import Poly, Sym, evaluate, product
from kernelwright.agent.writers.playbook.ir import Number, Size

SMALL = 16
"""A dimension equal in all traces and at most this is a constant (channels of an image, taps), with a guard."""


class Unsupported(Exception):
    """The playbook cannot write this task; the message is the answer's ``problem``."""


@dataclass(frozen=True)
class Varying:
    """A number that differs between traces: its value in each."""

    values: tuple[float, ...]


def varies(value: Any) -> bool:
    """Whether an argument is a number that differs between traces, or a list with one."""
    return isinstance(value, Varying) or (isinstance(value, (list, tuple)) and any(map(varies, value)))


@dataclass(frozen=True)
class Call:
    """One ATen call of the graph: arguments by schema name; numbers that differ between traces are :class:`Varying`."""

    name: str
    op: str
    args: Mapping[str, Any]
    out: Any
    """Traced shape and dtype (:class:`Varying` where they differ), a list for several results."""


@dataclass
class Symbols:
    """What sizes are called, and how to express an integer by them."""

    count: int
    """Number of traces."""
    own: int
    """How many of them, from the first on, are at the task's own shapes."""
    sizes: dict[str, Size] = field(default_factory=dict)
    values: dict[str, tuple[int, ...]] = field(default_factory=dict)
    spare: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Integer attributes of the module (Python expression -> values): become symbols when needed."""
    floats: dict[str, tuple[float, ...]] = field(default_factory=dict)
    numbers: dict[str, Number] = field(default_factory=dict)

    def add(self, source: str, values: tuple[int, ...]) -> Poly:
        """The symbol with these values, new if there is none."""
        for name, known in self.values.items():
            if known == values:
                return Poly.of(Sym(name))
        name = f"s{len(self.sizes)}"
        self.sizes[name] = Size(name, source)
        self.values[name] = values
        return Poly.of(Sym(name))

    def dimension(self, source: str, value: int | Varying) -> Poly:
        """The size of a dimension of an input or parameter."""
        values = self.values_of(value)
        if len(set(values)) == 1 and values[0] <= SMALL:
            return Poly.of(values[0])
        return self.add(source, values)

    def offer(self, source: str, values: tuple[float, ...]) -> None:
        """A number that sizes and scalars may turn out to be."""
        if all(isinstance(v, int) for v in values):
            self.spare[source] = tuple(int(v) for v in values)
        elif len(set(values)) > 1:
            self.floats[source] = values

    def values_of(self, value: Any) -> tuple[int, ...]:
        """The value in every trace."""
        return tuple(int(v) for v in value.values) if isinstance(value, Varying) else (int(value),) * self.count

    def evaluate(self, poly: Poly) -> tuple[int, ...]:
        """The values of ``poly`` in every trace."""
        return tuple(evaluate(poly, {n: v[t] for n, v in self.values.items()}) for t in range(self.count))

    def size(self, value: Any, near: tuple[Poly, ...] = ()) -> Poly:
        """``value`` (an integer of the graph) as a polynomial of symbols; ``near`` are tried first.

        Raises:
            Unsupported: it varies and no expression gives it.
        """
        values = self.values_of(value)
        for poly in near:
            if self.evaluate(poly) == values:
                return poly
        if len(set(values)) == 1:
            same = [n for n, v in self.values.items() if v == values]
            return Poly.of(Sym(same[0])) if same else Poly.of(values[0])
        plain = self._plain(values)
        if plain is not None:
            return plain
        for poly in self._candidates(near):
            if self.evaluate(poly) == values:
                return poly
        for poly in self._candidates((*near, *[self.add(s, v) for s, v in self.spare.items() if len(set(v)) > 1])):
            if self.evaluate(poly) == values:
                return poly
        raise Unsupported(f"no expression of the shapes gives {values}")

    def _plain(self, values: tuple[int, ...]) -> Poly | None:
        """A symbol or an attribute as it stands, before anything computed: a padding is no half of a batch."""
        for name, held in self.values.items():
            if held == values:
                return Poly.of(Sym(name))
        for source, known in self.spare.items():
            if known == values:
                return self.add(source, values)
        return None

    def number(self, value: Any) -> Poly:
        """An integer that is no size: a constant where it does not vary."""
        return Poly.of(int(value)) if not isinstance(value, Varying) else self.size(value)

    def _candidates(self, near: tuple[Poly, ...]) -> Iterator[Poly]:
        varying = [Poly.of(Sym(n)) for n, v in self.values.items()]
        base = list(dict.fromkeys([*near, *varying]))
        yield from base
        pairs = [a * b for a, b in itertools.combinations_with_replacement(base, 2)]
        yield from pairs
        for a, c in itertools.product(base, range(2, 17)):
            yield a * c
            yield a // c
        for a, c in itertools.product(base, (1, -1, 2, -2, 3, -3, 4, -4)):
            yield a + c
            yield (a + c) // 2
        for top, bottom in itertools.product([*pairs, *base], base):
            if top is not bottom:
                yield top // bottom
        if len(base) <= 12:
            yield from (product(t) for t in itertools.combinations_with_replacement(base, 3))
            yield from (a + b for a, b in itertools.combinations_with_replacement(base, 2))
            yield from (a * c + d for a in base for c in range(1, 9) for d in range(-8, 9) if d)
            yield from (a - b for a, b in itertools.permutations(base, 2))

    def scalar(self, value: Any) -> Expr:
        """A Python number of the graph as an expression.

        Raises:
            Unsupported: it varies and no expression gives it.
        """
        if isinstance(value, dict) and "float" in value:
            return Const(float(value["float"]), "float")
        if isinstance(value, bool):
            return Const(value, "bool")
        if isinstance(value, int):
            return Const(value, "int")
        if isinstance(value, float):
            return Const(value, "float")
        if not isinstance(value, Varying):
            raise Unsupported(f"{value!r} is no number")
        for source, known in self.floats.items():
            if known == value.values:
                name = f"f{len(self.numbers)}"
                return Arg(self.numbers.setdefault(source, Number(name, source, "float")).name, "float")
        if all(isinstance(v, int) for v in value.values):
            return Position(self.size(value))
        return self._float(value.values)

    def _float(self, values: tuple[float, ...]) -> Expr:
        one = Const(1.0, "float")
        forms: list[tuple[Callable[[float], float], Callable[[Expr], Expr]]] = [
            (lambda p: 1 / p, lambda e: Op("div", (one, e), "float")),
            (lambda p: p**-0.5, lambda e: Op("div", (one, Op("sqrt", (e,), "float")), "float")),
            (lambda p: p**0.5, lambda e: Op("sqrt", (e,), "float")),
            (lambda p: float(p), lambda e: e),
            (lambda p: math.log(p), lambda e: Op("log", (e,), "float")),
        ]
        for sources in ((), tuple(s for s, v in self.spare.items() if len(set(v)) > 1)):
            near = tuple(self.add(s, self.spare[s]) for s in sources)
            for poly in self._candidates(near):
                ints = self.evaluate(poly)
                if min(ints) <= 0:
                    continue
                for of, build in forms:
                    if all(math.isclose(of(i), v, rel_tol=1e-9) for i, v in zip(ints, values, strict=True)):
                        return build(Op("float", (Position(poly),), "float"))
        raise Unsupported(f"no expression of the shapes gives {values}")


@dataclass(frozen=True)
class Graph:
    """The unified graph of a reference."""

    tensors: tuple[Mapping[str, Any], ...]
    scalars: tuple[Mapping[str, Any], ...]
    calls: tuple[Call, ...]
    result: Any
    half: tuple[str, ...] | None
    symbols: Symbols


def structure(trace: Mapping[str, Any]) -> str:
    """What must agree between traces to be one graph: operators and how they are connected."""

    def shape_of(value: Any) -> Any:
        if isinstance(value, list):
            return [shape_of(v) for v in value]
        if isinstance(value, dict):
            return {k: shape_of(v) for k, v in value.items()} if "node" not in value else value["node"]
        return "#" if isinstance(value, (int, float)) and not isinstance(value, bool) else value

    tensors = [(t["node"], t["role"], t["source"], len(t["shape"]), t["dtype"]) for t in trace["tensors"]]
    calls = [(n["name"], n["op"], shape_of(n["args"])) for n in trace["nodes"]]
    return repr((tensors, calls, shape_of(trace["result"])))


def _merge(values: list[Any]) -> Any:
    """One value of several traces' values; numbers that differ become :class:`Varying`."""
    first = values[0]
    if isinstance(first, list):
        return [_merge([v[i] for v in values]) for i in range(len(first))]
    if isinstance(first, dict):
        return {k: _merge([v[k] for v in values]) for k in first}
    if all(v == first for v in values):
        return first
    if all(isinstance(v, (int, float)) for v in values):
        return Varying(tuple(values))
    raise Unsupported(f"{first!r} and {values[1]!r} stand at one place of two traces")


def _agreed(data: list[Any]) -> Any:
    """The one value that the traces with data agree on; None where they do not."""
    known = [d for d in data if d is not None]
    return known[0] if known and all(d == known[0] for d in known) else None


def _symbols(attributes: list[Mapping[str, Any]], own: int) -> Symbols:
    """Symbols for traces whose modules hold these numbers."""
    symbols = Symbols(len(attributes), own)
    for path in attributes[0]:
        values = tuple(a.get(path) for a in attributes)
        if all(isinstance(v, (int, float)) for v in values):
            symbols.offer(path, values)  # type: ignore[arg-type]
    return symbols


def unify(traces: list[Mapping[str, Any]]) -> Graph:
    """One graph of the traces that have the structure of the first.

    Raises:
        Unsupported: the reference mutates its state, or what differs cannot be expressed.
    """
    first = structure(traces[0])
    same = [t for t in traces if structure(t) == first]
    if len(same) < len(traces):
        common, votes = Counter(structure(t) for t in traces).most_common(1)[0]
        if votes > len(same):
            same = [t for t in traces if structure(t) == common]
    if same[0]["mutated"]:
        raise Unsupported(f"forward changes {same[0]['mutated'][0]}")
    symbols = _symbols([t["attributes"] for t in same], sum(t.get("own", True) for t in same) or len(same))
    data = [[t.get("data") for t in trace["tensors"]] for trace in same]
    bare = [[{k: v for k, v in t.items() if k != "data"} for t in trace["tensors"]] for trace in same]
    tensors = [
        {**entry, "data": _agreed([d[i] for d in data])} if entry["role"] == "const" else entry
        for i, entry in enumerate(_merge(bare))
    ]
    scalars, nodes = (_merge([t[key] for t in same]) for key in ("scalars", "nodes"))
    for scalar in scalars:
        if isinstance(scalar["value"], Varying):
            symbols.offer(scalar["source"], scalar["value"].values)
    calls = tuple(Call(n["name"], n["op"], n["args"], n.get("out")) for n in nodes)
    half = same[0]["half"]
    return Graph(tuple(tensors), tuple(scalars), calls, same[0]["result"], tuple(half) if half else None, symbols)

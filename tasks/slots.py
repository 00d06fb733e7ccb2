"""The integers that a reference's shapes hang on, read from its text: found, traced to their readers, rewritten.

Pure AST: the reference is never executed. A slot is one constant integer at module level: a name (``M = 64``,
``H, W = 8, 8``, ``height = width = 8``) or an element of a literal (``shape = (8, 16)``: ``shape[0]``, ``shape[1]``).
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from kernelwright.tasks.errors import TaskError

_OPERATORS: Mapping[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.LShift: operator.lshift,
    ast.Pow: operator.pow,
}
_LARGEST = 2**48
"""A size beyond this is no size; it also keeps ``9 ** 9 ** 9`` from being computed."""

_FACTORIES = {"rand", "randn", "randint", "empty", "ones", "zeros", "full", "normal", "arange", "randperm", "eye"}
_LAST_ARGUMENT_IS_SIZE = {"randint", "normal"}


@dataclass(frozen=True)
class Slot:
    """One constant integer at module level, and where its text stands."""

    name: str
    value: int
    statement: ast.Assign | ast.AnnAssign
    node: ast.expr


def parse(source: str) -> ast.Module:
    """The module's tree.

    Raises:
        TaskError: the text is no Python; the message gives the line.
    """
    try:
        return ast.parse(source)
    except SyntaxError as error:
        raise TaskError(
            f"the reference does not parse: line {error.lineno}: {error.msg}", "correct the syntax of the file"
        ) from error
    except ValueError as error:
        raise TaskError(f"the reference does not parse: {error}", "save it as UTF-8 text") from error


def constant(node: ast.expr) -> int | None:
    """The value of an expression of integer literals; None for anything else (names, floats, bools)."""
    if isinstance(node, ast.Constant):
        return node.value if type(node.value) is int else None
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = constant(node.operand)
        return None if value is None else -value
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        left, right = constant(node.left), constant(node.right)
        if left is None or right is None:
            return None
        if isinstance(node.op, (ast.Pow, ast.LShift)) and not (0 <= right <= 48 and abs(left) <= _LARGEST):
            return None
        try:
            value = _OPERATORS[type(node.op)](left, right)
        except ZeroDivisionError:
            return None
        return value if abs(value) <= _LARGEST else None
    return None


def find_slots(tree: ast.Module) -> tuple[Slot, ...]:
    """Every slot, in the order of the text. Names bound again in another way (``N *= 2``) are left out."""
    found: list[Slot] = []
    for statement in tree.body:
        if isinstance(statement, ast.Assign):
            found += [slot for target in statement.targets for slot in _slots_of(target, statement.value, statement)]
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            found += _slots_of(statement.target, statement.value, statement)
    bindings = list(_bound_names(tree))
    names = [slot.name for slot in found]
    return tuple(s for s in found if bindings.count(_base(s.name)) <= max(1, names.count(s.name)))


def _slots_of(target: ast.expr, value: ast.expr, statement: ast.Assign | ast.AnnAssign) -> Iterator[Slot]:
    number = constant(value)
    if isinstance(target, ast.Name) and number is not None:
        yield Slot(target.id, number, statement, value)
    elif isinstance(value, (ast.Tuple, ast.List)) and isinstance(target, ast.Name):
        for index, element in enumerate(value.elts):
            number = constant(element)
            if number is not None:
                yield Slot(f"{target.id}[{index}]", number, statement, element)
    elif isinstance(value, (ast.Tuple, ast.List)) and isinstance(target, (ast.Tuple, ast.List)):
        pairs = zip(target.elts, value.elts, strict=True) if len(target.elts) == len(value.elts) else ()
        for inner, element in pairs:
            yield from _slots_of(inner, element, statement)


def _base(name: str) -> str:
    return name.partition("[")[0]


def _bound_names(tree: ast.Module) -> Iterator[str]:
    """Each name that module-level code stores to, once per store; functions and classes have their own scope."""
    pending: list[ast.AST] = list(tree.body)
    while pending:
        node = pending.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        else:
            pending += ast.iter_child_nodes(node)


def rewrite(source: str, slots: tuple[Slot, ...], sizes: Mapping[str, int]) -> str:
    """``source`` with the text of the named slots replaced and every other character kept."""
    chosen = [slot for slot in slots if slot.name in sizes]
    edits: dict[tuple[int, int], str] = {}
    starts = _line_starts(source)
    for slot in chosen:
        statement = slot.statement
        if isinstance(statement, ast.Assign) and len(statement.targets) > 1:
            parts = [f"{s.name} = {sizes.get(s.name, s.value)}" for s in slots if s.statement is statement]
            edits[_span(statement, starts)] = "; ".join(parts)
        else:
            edits[_span(slot.node, starts)] = str(sizes[slot.name])
    text = source.encode()
    for (start, end), new in sorted(edits.items(), reverse=True):
        text = text[:start] + new.encode() + text[end:]
    return text.decode()


def _line_starts(source: str) -> list[int]:
    starts = [0]
    for line in source.encode().split(b"\n"):
        starts.append(starts[-1] + len(line) + 1)
    return starts


def _span(node: ast.stmt | ast.expr, starts: list[int]) -> tuple[int, int]:
    """Byte offsets of a node; the tree counts columns in UTF-8 bytes."""
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    return starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset


class Readers:
    """Which slots a module-level function reads, directly or through other module-level names and functions."""

    def __init__(self, tree: ast.Module, slots: tuple[Slot, ...]) -> None:
        self._slots = tuple(slot.name for slot in slots)
        self._functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        self._values: dict[str, ast.expr] = {}
        for node in tree.body:
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    self._bind(target, node.value)

    def _bind(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Name):
            self._values[target.id] = value
        elif isinstance(target, (ast.Tuple, ast.List)):
            for element in target.elts:
                self._bind(element, value)

    def function(self, name: str) -> ast.FunctionDef | None:
        return self._functions.get(name)

    def read_by(self, function: str) -> frozenset[str]:
        """Slots that ``function`` reads."""
        node = self._functions.get(function)
        return frozenset() if node is None else self.read_in(node)

    def read_in(self, node: ast.AST) -> frozenset[str]:
        """Slots that the code under ``node`` reads."""
        return frozenset(s for s in self._slots if _base(s) in self._reach(node))

    def _reach(self, node: ast.AST) -> set[str]:
        seen: set[str] = set()
        pending = [node]
        while pending:
            for name in _free_names(pending.pop()):
                if name in seen:
                    continue
                seen.add(name)
                pending += [n for n in (self._functions.get(name), self._values.get(name)) if n is not None]
        return seen

    def factory_shapes(self, function: str) -> Iterator[list[frozenset[str] | int]]:
        """For each tensor that ``function`` makes, one entry a dimension: its slots, or its literal size."""
        entry = self._functions.get(function)
        if entry is None:
            return
        helpers = [self._functions[name] for name in self._reach(entry) if name in self._functions]
        for node in (child for root in (entry, *helpers) for child in ast.walk(root)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _FACTORIES:
                shape = list(self._dimensions(_size_arguments(node), 0))
                if shape:
                    yield shape

    def _dimensions(self, nodes: list[ast.expr], depth: int) -> Iterator[frozenset[str] | int]:
        for node in nodes:
            inner = node.value if isinstance(node, ast.Starred) else node
            number = constant(inner)
            if isinstance(inner, (ast.Tuple, ast.List)) and depth < 4:
                yield from self._dimensions(inner.elts, depth + 1)
            elif isinstance(inner, ast.Name) and (elements := self._elements(inner.id)):
                yield from elements
            else:
                yield number if number is not None else self.read_in(inner)

    def _elements(self, name: str) -> list[frozenset[str] | int]:
        """The dimensions in a module-level tuple or list; nothing when ``name`` is something else."""
        bound = self._values.get(name)
        if name in self._slots or not isinstance(bound, (ast.Tuple, ast.List)):
            return []
        own = [f"{name}[{index}]" for index in range(len(bound.elts))]
        return [
            frozenset({slot}) if slot in self._slots else self.read_in(element)
            for slot, element in zip(own, bound.elts, strict=True)
        ]


def _size_arguments(call: ast.Call) -> list[ast.expr]:
    """The arguments of a tensor factory that give its shape."""
    assert isinstance(call.func, ast.Attribute)
    named = [k.value for k in call.keywords if k.arg == "size"]
    if named:
        return named
    if call.func.attr in _LAST_ARGUMENT_IS_SIZE:
        return call.args[-1:] if len(call.args) > 1 else []
    return call.args[:1] if call.func.attr == "full" else list(call.args)


def _free_names(node: ast.AST) -> set[str]:
    """Names read under ``node`` that are not stored there."""
    names = [n for n in ast.walk(node) if isinstance(n, ast.Name)]
    stored = {n.id for n in names if isinstance(n.ctx, ast.Store)}
    parameters = {n.arg for n in ast.walk(node) if isinstance(n, ast.arg)}
    return {n.id for n in names if isinstance(n.ctx, ast.Load)} - stored - parameters

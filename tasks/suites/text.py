"""Editing a suite's Python text by its tree, so that what stays keeps every character. Executes nothing."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Collection, Iterator, Mapping

from kernelwright.tasks.slots import parse

_INSTALLED = frozenset(sys.stdlib_module_names) | {"torch", "numpy", "triton", "."}
SEEDS = {
    "random": "random.seed(torch.initial_seed())",
    "numpy": "__import__('numpy').random.seed(torch.initial_seed() % 2**32)",
}
"""Module -> a statement that ties its random numbers to torch's seed, so that the judge's draws differ and can be repeated."""


def without(source: str, drop: Callable[[ast.stmt], bool]) -> str:
    """``source`` without the module-level statements that ``drop`` picks, decorators included; whole lines go.

    Raises:
        TaskError: the text does not parse.
    """
    lines = source.splitlines(keepends=True)
    for statement in reversed(parse(source).body):
        if drop(statement):
            decorators = getattr(statement, "decorator_list", [])
            first = min([statement.lineno, *(d.lineno for d in decorators)])
            del lines[first - 1 : statement.end_lineno]
    return "".join(lines).strip("\n") + "\n"


def imports(modules: Collection[str]) -> Callable[[ast.stmt], bool]:
    """Picks imports of the named top-level modules, also ``from`` ones."""
    return lambda statement: bool(imported(statement)) and imported(statement) <= set(modules)


def imported(statement: ast.AST) -> set[str]:
    """The top-level modules that one import statement names; empty for any other statement, ``.`` for a relative one."""
    if isinstance(statement, ast.Import):
        return {alias.name.partition(".")[0] for alias in statement.names}
    if isinstance(statement, ast.ImportFrom):
        return {"." if statement.level else (statement.module or "").partition(".")[0]}
    return set()


def all_imports(source: str) -> set[str]:
    """The top-level modules that any import in ``source`` names, at any depth."""
    return {name for node in ast.walk(parse(source)) for name in imported(node)}


def missing_imports(source: str) -> list[str]:
    """Modules that ``source`` imports and that an installation of kernelwright need not have, sorted."""
    return sorted(all_imports(source) - _INSTALLED)


def seeding(source: str) -> list[str]:
    """The statements of :data:`SEEDS` that ``source`` needs."""
    return [line for module, line in SEEDS.items() if module in all_imports(source)]


def gradients(source: str, function: str) -> str:
    """A statement that lets ``function`` record gradients, where ``source`` takes any: the judge calls without. Or nothing."""
    takes = "autograd.grad(" in source or ".backward(" in source
    return f"\n\n{function} = torch.enable_grad()({function})\n" if takes else ""


def defined(source: str) -> Mapping[str, ast.stmt]:
    """Functions, classes and plain assignments at module level, by name."""
    found: dict[str, ast.stmt] = {}
    for statement in parse(source).body:
        if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
            found[statement.name] = statement
        elif isinstance(statement, ast.Assign):
            found.update({t.id: statement for t in statement.targets if isinstance(t, ast.Name)})
    return found


def reads(node: ast.AST, name: str) -> bool:
    """Whether the code under ``node`` reads ``name``."""
    return any(isinstance(n, ast.Name) and n.id == name for n in ast.walk(node))


def devices_as(source: str, name: str) -> str:
    """``source`` with each string ``"cuda"`` or ``"cuda:0"`` replaced by the variable ``name``; docstrings never match."""
    lines = source.encode().splitlines(keepends=True)
    places = [(node.lineno, node.col_offset, node.end_col_offset) for node in _device_literals(parse(source))]
    for line, start, end in sorted(places, reverse=True):
        text = lines[line - 1]
        lines[line - 1] = text[:start] + name.encode() + text[end:]
    return b"".join(lines).decode()


def _device_literals(tree: ast.Module) -> Iterator[ast.Constant]:
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Constant) and node.value in ("cuda", "cuda:0") and node.lineno == node.end_lineno:
            yield node
        elif not isinstance(node, ast.JoinedStr):  # its parts have no place of their own before Python 3.12
            pending += ast.iter_child_nodes(node)


def renamed(source: str, names: Mapping[str, str]) -> str:
    """``source`` with module-level functions called anew; calls to them are not, for suites never make any."""
    lines = source.splitlines(keepends=True)
    for statement in parse(source).body:
        if isinstance(statement, ast.FunctionDef) and statement.name in names:
            at = statement.lineno - 1
            lines[at] = lines[at].replace(f"def {statement.name}", f"def {names[statement.name]}", 1)
    return "".join(lines)

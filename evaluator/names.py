"""What names stand for in a Python source: dotted paths of imported things, by aliases and scopes. Runs nothing."""

from __future__ import annotations

import ast
import builtins
from collections import ChainMap
from collections.abc import Iterator, Sequence

from kernelwright.evaluator.syntax import dotted, import_aliases

IMPORTERS = frozenset({"builtins.__import__", "importlib.import_module"})
_BUILTINS = {name: f"builtins.{name}" for name in dir(builtins)}


class Names:
    """A stack of scopes. A local name that is nothing imported hides an import of the same name."""

    def __init__(self, body: Sequence[ast.stmt]) -> None:
        self._scopes: ChainMap[str, str] = ChainMap(_BUILTINS)
        self.enter(body)
        self.module = frozenset(self._scopes.maps[0])
        """Every name bound at module level."""

    def enter(self, body: Sequence[ast.stmt], parameters: Sequence[str] = ()) -> None:
        """Open the scope of a function: imports and aliases of imported things get their path, other names none."""
        scope: dict[str, str] = dict.fromkeys(parameters, "")
        self._scopes = self._scopes.new_child(scope)
        outer: set[str] = set()
        assigned: list[tuple[str, ast.expr | None]] = []
        for node in _own_nodes(body):
            if isinstance(node, (ast.Global, ast.Nonlocal)):
                outer.update(node.names)
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                scope.update(import_aliases(node))
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                assigned.append((node.name, None))
            else:
                assigned.extend(_bindings(node))
        for name, value in assigned:
            if name not in outer and not scope.get(name):
                scope[name] = ""
                scope[name] = self.path(value) if value is not None else ""

    def leave(self) -> None:
        """Close the innermost scope."""
        self._scopes = self._scopes.parents

    def path(self, node: ast.AST) -> str:
        """Dotted path of what an expression names: aliases, ``getattr``, ``__import__``, ``vars``, ``sys.modules``."""
        if isinstance(node, ast.Attribute):
            base = self.path(node.value)
            return f"{base}.{node.attr}" if base else ""
        if isinstance(node, ast.NamedExpr):
            return self.path(node.value)
        if isinstance(node, ast.Subscript):
            return self._entry(node)
        if isinstance(node, ast.Call) and node.args:
            return self._called(node)
        return dotted(node, self._scopes)

    def _entry(self, node: ast.Subscript) -> str:
        """``sys.modules["torch"]`` is torch, ``torch.__dict__["mm"]`` is torch.mm."""
        base, key = self.path(node.value), text(node.slice) or "?"
        if base == "sys.modules":
            return key
        return f"{base.removesuffix('.__dict__')}.{key}" if base.endswith(".__dict__") else ""

    def _called(self, node: ast.Call) -> str:
        called, first = self.path(node.func), text(node.args[0])
        if called in IMPORTERS and first:
            return first
        if called not in ("builtins.vars", "builtins.getattr"):
            return ""
        base = self.path(node.args[0])
        name = "__dict__" if called == "builtins.vars" else text(node.args[1] if len(node.args) > 1 else None)
        return f"{base}.{name}" if base and name else ""


def text(node: ast.AST | None) -> str:
    """The string that a literal is; empty for anything else."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _own_nodes(body: Sequence[ast.stmt]) -> Iterator[ast.AST]:
    """Nodes of a scope, without what is inside the functions and classes in it."""
    pending: list[ast.AST] = list(body)
    while pending:
        node = pending.pop()
        yield node
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            continue
        if not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)):
            pending.extend(ast.iter_child_nodes(node))


def _bindings(node: ast.AST) -> Iterator[tuple[str, ast.expr | None]]:
    """Names that a node binds, with the value where it is a plain assignment."""
    if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
        yield node.targets[0].id, node.value
    elif isinstance(node, ast.NamedExpr):
        yield node.target.id, node.value
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id, None
    elif isinstance(node, ast.ExceptHandler) and node.name:
        yield node.name, None

"""Look at a kernel's text before anything runs: parse it, find ``ModelNew``, and name what no honest kernel does.

Hints, never the only defence: what matters is also seen at run time (dispatcher, profiler, a separate process). Three
tiers: ``reject`` only on what is certain, ``flag`` for what deserves a second look, ``record`` for the reader.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from kernelwright.evaluator import screen_rules as rules
from kernelwright.evaluator.screen_native import screen_native
from kernelwright.evaluator.screen_python import Finding, PythonScreen
from kernelwright.evaluator.syntax import parse
from kernelwright.tasks.records import Kernel

__all__ = ["Finding", "screen"]
_ORDER = {rules.REJECT: 0, rules.FLAG: 1, rules.RECORD: 2}


def screen(kernel: Kernel) -> tuple[Finding, ...]:
    """Findings on ``kernel``, gravest first, then by line. Never executes the candidate.

    Rules ``syntax`` and ``no_model`` mean that there is nothing to judge; every other reject is an attempt to cheat.
    """
    try:
        tree = parse(kernel.source)
    except SyntaxError as error:
        return (Finding(rules.REJECT, "syntax", error.lineno or 0, error.msg or "cannot be parsed"),)
    visitor = PythonScreen(tree, kernel.backend)
    found = [*_model(tree, visitor), *visitor.run(), *screen_native(tree)]
    return tuple(sorted(set(found), key=lambda f: (_ORDER[f.tier], f.line, f.rule, f.detail)))


@dataclass(frozen=True)
class _Class:
    node: ast.ClassDef
    bases: tuple[str, ...]
    """In-file class names as they are, imported ones dotted."""


def _model(tree: ast.Module, visitor: PythonScreen) -> Iterator[Finding]:
    """``ModelNew`` is there, has a forward of its own, and does not descend from the reference."""
    classes = {
        node.name: _Class(node, tuple(_bases(node, visitor)))
        for node in _top_level(tree.body)
        if isinstance(node, ast.ClassDef)
    }
    if "ModelNew" not in classes:
        if "ModelNew" not in visitor.names.module:
            yield Finding(rules.REJECT, "no_model", 0, rules.WHY["no_model"])
        return
    line = classes["ModelNew"].node.lineno
    lineage = list(_lineage("ModelNew", classes))
    ours = [classes[name] for name in lineage if name in classes]
    foreign = [name for name in lineage if name not in classes]
    if any(name.split(".")[-1] == "Model" for name in lineage):
        yield Finding(rules.REJECT, "reference", line, f"ModelNew inherits from Model: {rules.WHY['reference']}")
    elif not any(_defines_forward(c.node) for c in ours) and set(foreign) <= {"torch.nn.Module", "builtins.object"}:
        yield Finding(rules.REJECT, "no_model", line, f"ModelNew has no forward: {rules.WHY['no_model']}")


def _top_level(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run at import, those inside ``if`` and ``try`` too."""
    for statement in body:
        yield statement
        for field in ("body", "orelse", "finalbody"):
            if isinstance(statement, (ast.If, ast.Try, ast.With)):
                yield from _top_level(getattr(statement, field, ()))
        if isinstance(statement, ast.Try):
            for handler in statement.handlers:
                yield from _top_level(handler.body)


def _bases(node: ast.ClassDef, visitor: PythonScreen) -> Iterator[str]:
    for base in node.bases:
        path = visitor.names.path(base)
        yield path or (base.id if isinstance(base, ast.Name) else ast.unparse(base))


def _lineage(name: str, classes: dict[str, _Class], depth: int = 20) -> Iterator[str]:
    yield name
    if name in classes and depth:
        for base in classes[name].bases:
            yield from _lineage(base, classes, depth - 1)


def _defines_forward(node: ast.ClassDef) -> bool:
    for statement in _top_level(node.body):
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)) and statement.name == "forward":
            return True
        if isinstance(statement, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "forward" for t in statement.targets):
            return True
    return False

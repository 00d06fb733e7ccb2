"""What can be said of a Python text without running it: whether it is whole, what it defines and what it lacks."""

from __future__ import annotations

import ast
import builtins
import re
import warnings
from collections.abc import Iterator, Sequence

MODEL = re.compile(r"^[ \t]*class[ \t]+ModelNew\b", re.MULTILINE)
"""Where a kernel's class begins."""

_KNOWN = frozenset({*dir(builtins), "__file__", "__name__", "__doc__", "__builtins__"})
_COMMENT = re.compile(r"^[ \t]*(?:#|//|/\*)[^\n]*", re.MULTILINE)
_DOTS = re.compile(r"\.\.\.|…")
_LEFT_OUT = re.compile(r"\b(?:rest|same|unchanged|existing|before|omitted|previous|remaining|above)\b", re.IGNORECASE)


def parsed(source: str) -> ast.Module | None:
    """The syntax tree, None for what is not Python; warnings about escapes in native code are nobody's business here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def finished(source: str) -> bool:
    """Whether ``source`` parses and its ``ModelNew`` has a ``forward`` that returns: half a file can parse by luck."""
    tree = parsed(source) if MODEL.search(source) else None
    if tree is None:
        return False
    models = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "ModelNew"]
    methods = [node for model in models for node in model.body if isinstance(node, ast.FunctionDef)]
    return any(isinstance(n, ast.Return) for m in methods if m.name == "forward" for n in ast.walk(m))


def elided(source: str) -> str:
    """The comment by which a writer leaves parts of a file out, where that leaves names undefined; else empty."""
    comments = (found.group().strip() for found in _COMMENT.finditer(source))
    said = next((c for c in comments if _DOTS.search(c) and _LEFT_OUT.search(c)), "")
    tree = parsed(source) if said else None
    return said if tree is not None and _missing(tree) else ""


def joined(main: str, others: Sequence[str]) -> str:
    """``main`` with those of ``others`` before it that define what it lacks; of two that define the same, the later.

    A file that somebody cut into blocks is one file again: imports of a sibling block by its file's name are dropped. What
    does not parse, or lacks nothing, stays as it is.
    """
    tree = parsed(main)
    wanted = _missing(tree) if tree is not None else set()
    siblings = [(text, t) for text in others if (t := parsed(text)) is not None and t.body]
    if tree is None or not siblings:
        return main
    main, wanted = _without_imports(main, tree, siblings, wanted)
    taken: list[int] = []
    for _ in siblings:
        found = next((i for i in reversed(range(len(siblings))) if i not in taken and _defined(siblings[i][1]) & wanted), None)
        if found is None:
            break
        taken.append(found)
        wanted = (wanted | _missing(siblings[found][1])) - _defined(siblings[found][1])
    text = "\n\n".join([*(siblings[i][0].strip("\n") for i in sorted(taken)), main])
    return text if taken and finished(text) else main


def _without_imports(
    main: str, tree: ast.Module, siblings: Sequence[tuple[str, ast.Module]], wanted: set[str]
) -> tuple[str, set[str]]:
    """``main`` without ``from kernels import f`` where a sibling that says it is ``kernels.py`` defines ``f``."""
    lines, names = main.split("\n"), set(wanted)
    for node in tree.body:
        if not isinstance(node, ast.ImportFrom) or node.module is None or node.end_lineno is None:
            continue
        imported = {alias.name for alias in node.names if alias.asname is None}
        file = f"{node.module.split('.')[-1]}.py"
        said = [t for text, t in siblings if file in text.lstrip().split("\n", 1)[0]]
        if len(imported) == len(node.names) and any(imported <= _defined(t) for t in said):
            lines[node.lineno - 1 : node.end_lineno] = [""] * (node.end_lineno - node.lineno + 1)
            names |= imported
    return "\n".join(lines), names


def _defined(tree: ast.Module) -> set[str]:
    """Names that the module's own statements bind, those inside its ifs and tries included."""
    return {name for node in _outside_functions(tree) for name in _binds(node)}


def _missing(tree: ast.Module) -> set[str]:
    """Names that are read somewhere and bound nowhere, by spelling."""
    nodes = list(ast.walk(tree))
    bound = {name for node in nodes for name in _binds(node)} | _KNOWN
    if any(isinstance(n, ast.ImportFrom) and any(a.name == "*" for a in n.names) for n in nodes):
        return set()
    return {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)} - bound


def _binds(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id
    elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name
    elif isinstance(node, ast.arg):
        yield node.arg
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
        yield from (alias.asname or alias.name.split(".")[0] for alias in node.names)
    elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and node.name:
        yield node.name
    elif isinstance(node, ast.MatchMapping) and node.rest:
        yield node.rest


def _outside_functions(tree: ast.Module) -> Iterator[ast.AST]:
    todo: list[ast.AST] = list(tree.body)
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            todo += ast.iter_child_nodes(node)

"""The reference's text, reduced to what creates the parameters: its constructor, and what that needs."""

from __future__ import annotations

import ast

from kernelwright.agent.writers.playbook.graph import Unsupported

_DROP = frozenset(("get_inputs", "get_init_inputs"))


def _model(tree: ast.Module) -> ast.ClassDef:
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == "Model":
            return node
    raise Unsupported("the reference has no class Model at module level")


def _method(model: ast.ClassDef, name: str) -> ast.FunctionDef | None:
    return next((n for n in model.body if isinstance(n, ast.FunctionDef) and n.name == name), None)


def forward_arguments(source: str) -> tuple[str, list[str]]:
    """The signature of ``Model.forward`` without annotations, and its argument names after self.

    Raises:
        Unsupported: there is none, or it takes ``*args``.
    """
    forward = _method(_model(ast.parse(source)), "forward")
    if forward is None:
        raise Unsupported("class Model has no forward of its own")
    if forward.args.vararg or forward.args.kwarg:
        raise Unsupported("forward takes *args or **kwargs")
    arguments = ast.parse(ast.unparse(forward)).body[0].args  # type: ignore[attr-defined]
    for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]:
        argument.annotation = None
    names = [a.arg for a in [*arguments.posonlyargs, *arguments.args]]
    return ast.unparse(arguments), names[1:]


class _Rename(ast.NodeTransformer):
    """``Model`` becomes ``ModelNew``."""

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name("ModelNew", node.ctx) if node.id == "Model" else node


def _names(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def _defined(node: ast.stmt) -> set[str]:
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return {node.name}
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return {(a.asname or a.name).split(".")[0] for a in node.names}
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def _called(model: ast.ClassDef) -> list[ast.stmt]:
    """The constructor, what it calls on self, class attributes."""
    kept = {"__init__"}
    methods = {n.name: n for n in model.body if isinstance(n, ast.FunctionDef)}
    todo = ["__init__"]
    while todo:
        method = methods.get(todo.pop())
        if method is None:
            continue
        for node in ast.walk(method):
            if isinstance(node, ast.Attribute) and node.attr in methods and node.attr not in kept | {"forward"}:
                kept.add(node.attr)
                todo.append(node.attr)
    return [n for n in model.body if not isinstance(n, ast.FunctionDef) or n.name in kept]


def _is_module(node: ast.stmt) -> bool:
    return isinstance(node, ast.ClassDef) and any("Module" in ast.unparse(b) for b in node.bases)


def holder(source: str) -> str:
    """Imports, constants and classes that constructing the model needs, then ``class ModelNew`` without its forward."""
    tree = ast.parse(source)
    model = _model(tree)
    body = [n for n in _called(model) if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))]
    bases = [b for b in model.bases]
    new = ast.ClassDef("ModelNew", bases, model.keywords, body or [ast.Pass()], model.decorator_list)
    needed = _names(new)
    kept: list[ast.stmt] = []
    for node in reversed(tree.body):
        if node is model or getattr(node, "name", "") in _DROP or isinstance(node, ast.Expr):
            continue
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            continue
        if not _defined(node) & needed:
            continue
        if _is_module(node) and isinstance(node, ast.ClassDef):  # its parameters count, its forward never runs
            node.body = [n for n in node.body if not (isinstance(n, ast.FunctionDef) and n.name == "forward")] or [ast.Pass()]
        kept.append(node)
        needed |= _names(node)
    lines = [ast.unparse(ast.fix_missing_locations(_Rename().visit(node))) for node in [*reversed(kept), new]]
    return "\n\n".join(lines)

"""The call of ``load_inline`` in a kernel's text: its arguments without running anything."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from kernelwright.evaluator.ascend_source import NotModelled
from kernelwright.evaluator.inline.source import PARAMETERS, READ, InlineSource, inline_source
from kernelwright.evaluator.syntax import NotConstant, fold
from kernelwright.evaluator.toolchain import BuildError


def read_call(call: ast.Call, values: Mapping[str, object]) -> InlineSource:
    """What a call of ``load_inline`` builds; ``values``: constants that it may name.

    Raises:
        BuildError: an argument that the text does not give, or that torch would not take. NotModelled: one not modelled.
    """
    where = f"line {call.lineno}: load_inline(…)"
    if any(isinstance(part, ast.Starred) for part in call.args) or any(k.arg is None for k in call.keywords):
        raise BuildError(f"{where}: write its arguments out, without * or **, so that it can be built ahead")
    given = dict(zip(PARAMETERS, call.args, strict=False)) | {str(k.arg): k.value for k in call.keywords}
    unknown = sorted(set(given) - set(PARAMETERS))
    if unknown or len(call.args) > len(PARAMETERS):
        raise BuildError(
            f"{where} takes no argument {unknown[0] if unknown else len(call.args)!r}; it takes {', '.join(PARAMETERS)}"
        )
    read = {name: _constant(given[name], values, f"{where}: {name}") for name in READ if name in given}
    try:
        return inline_source(read)
    except BuildError as problem:
        kind = NotModelled if isinstance(problem, NotModelled) else BuildError
        raise kind(f"line {call.lineno}: {problem}") from None


def _constant(node: ast.expr, values: Mapping[str, object], where: str) -> object:
    if isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, bool)):
        return node.value
    if isinstance(node, ast.Dict):  # of names and what is said of them
        keys = [key for key in node.keys if key is not None]
        return tuple(_constant(key, values, where) for key in keys)
    try:
        return fold(node, values)
    except NotConstant as problem:
        raise BuildError(
            f"{where} must be a literal (or a constant, assigned once) so that it can be built ahead; cannot tell `{problem}`"
        ) from None


def local_constants(tree: ast.Module, call: ast.Call, values: Mapping[str, object]) -> dict[str, object]:
    """Names that the functions around ``call`` assign once to a constant expression, and so what it may name besides."""
    found: dict[str, object] = {}
    for function in ast.walk(tree):
        if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        inside = list(ast.walk(function))
        if call not in inside:
            continue
        stored = [node.id for node in inside if isinstance(node, ast.Name) and isinstance(node.ctx, (ast.Store, ast.Del))]
        given = {argument.arg for argument in ast.walk(function.args) if isinstance(argument, ast.arg)}
        for statement in inside:
            target = statement.targets[0] if isinstance(statement, ast.Assign) and len(statement.targets) == 1 else None
            if (
                isinstance(statement, ast.Assign)
                and isinstance(target, ast.Name)
                and stored.count(target.id) == 1 - (target.id in given)
            ):
                try:
                    found[target.id] = fold(statement.value, {**values, **found})
                except NotConstant:
                    continue
    return found

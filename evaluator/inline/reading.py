"""The call of ``load_inline`` in a kernel's text: its arguments without running anything."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

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
    if isinstance(node, ast.Attribute) and ast.unparse(node) in values:
        return values[ast.unparse(node)]
    try:
        return fold(node, values)
    except NotConstant as problem:
        raise BuildError(
            f"{where} must be a literal (or a constant, assigned once) so that it can be built ahead; cannot tell `{problem}`"
        ) from None


def local_constants(tree: ast.Module, call: ast.Call, values: Mapping[str, object]) -> dict[str, object]:
    """What ``call`` may name besides: variables of the functions around it and attributes of ``self`` that are set once."""
    found: dict[str, object] = {}
    for function in ast.walk(tree):
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            inside = list(ast.walk(function))
            found |= _set_once(inside, {**values, **found}, call in inside)
    return found


def _set_once(inside: Sequence[ast.AST], values: Mapping[str, object], around: bool) -> dict[str, object]:
    """Names that the nodes of a function assign once to a constant: attributes of ``self``, and with ``around`` variables.

    That another function sets an attribute too is seen where the call is made: nothing was built for what it is given then.
    """
    given = [node.arg for node in inside if isinstance(node, ast.arg)]
    stored = [
        ast.unparse(node)
        for node in inside
        if isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, (ast.Store, ast.Del))
    ]
    found: dict[str, object] = {}
    for node in inside:
        if not (isinstance(node, ast.Assign) and len(node.targets) == 1):
            continue
        name = ast.unparse(node.targets[0])
        wanted = name.startswith("self.") or (around and isinstance(node.targets[0], ast.Name))
        if not wanted or [*stored, *given].count(name) != 1:
            continue
        try:
            found[name] = fold(node.value, {**values, **found})
        except NotConstant:
            continue
    return found

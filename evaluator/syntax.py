"""Reading a kernel's Python source without running it: dotted names through import aliases, and constant strings."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping

MAX_TEXT = 2_000_000
"""Longest string that folding may make: a source is data, and `"x" * 10**9` must not cost the judge its memory."""


MAX_DEPTH = 150
"""Deepest tree that is read: those who walk one recur, and no kernel that a person could read is deeper."""


def parse(source: str) -> ast.Module:
    """The module's tree; every way a text can fail to parse, and one nested too deep to be walked, is a SyntaxError."""
    try:
        tree = ast.parse(source)
    except (ValueError, RecursionError, MemoryError) as error:
        raise SyntaxError(f"{type(error).__name__}: {error}") from error
    level: list[ast.AST] = [tree]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return tree
    at = next((node.lineno for node in level if isinstance(node, (ast.expr, ast.stmt))), None)
    raise SyntaxError(f"nested deeper than {MAX_DEPTH} levels", ("<kernel>", at, None, None))


def import_aliases(node: ast.AST) -> dict[str, str]:
    """What one import statement binds: local name -> dotted path."""
    if isinstance(node, ast.Import):
        return {a.asname or a.name.split(".")[0]: a.name if a.asname else a.name.split(".")[0] for a in node.names}
    if isinstance(node, ast.ImportFrom):
        base = "." * node.level + (node.module or "")
        return {a.asname or a.name: f"{base}.{a.name}".lstrip(".") for a in node.names}
    return {}


def dotted(node: ast.AST, names: Mapping[str, str]) -> str:
    """``torch.backends.cudnn`` for an expression that spells it through ``names``; empty when it is anything else."""
    if isinstance(node, ast.Name):
        return names.get(node.id, "")
    if isinstance(node, ast.Attribute):
        base = dotted(node.value, names)
        return f"{base}.{node.attr}" if base else ""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr" and len(node.args) >= 2:
        base, name = dotted(node.args[0], names), node.args[1]
        if base and isinstance(name, ast.Constant) and isinstance(name.value, str):
            return f"{base}.{name.value}"
    return ""


def constants(tree: ast.Module, nodes: Iterable[ast.AST]) -> dict[str, object]:
    """Module-level names assigned exactly once, among all ``nodes`` of the tree, to a constant expression -> value."""
    values: dict[str, object] = {}
    stores: dict[str, int] = {}
    for node in nodes:
        if isinstance(node, ast.Name) and isinstance(node.ctx, (ast.Store, ast.Del)):
            stores[node.id] = stores.get(node.id, 0) + 1
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target: ast.expr = statement.targets[0]
        elif isinstance(statement, ast.AnnAssign):
            target = statement.target
        else:
            continue
        if isinstance(target, ast.Name) and stores[target.id] == 1 and statement.value is not None:
            try:
                values[target.id] = fold(statement.value, values)
            except NotConstant:
                continue
    return values


class NotConstant(Exception):
    """An expression whose value the text alone does not give."""


def fold(node: ast.expr, names: Mapping[str, object]) -> object:
    """The value of a constant expression: literals, ``+``, f-strings, ``%``, ``format``, ``replace``, ``join``.

    Raises:
        NotConstant: anything else, or a result larger than :data:`MAX_TEXT`.
    """
    try:
        value = _fold(node, names)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, ArithmeticError, RecursionError) as error:
        raise NotConstant(str(error)) from error
    if isinstance(value, str) and len(value) > MAX_TEXT:
        raise NotConstant(f"longer than {MAX_TEXT} characters")
    return value


def _fold(node: ast.expr, names: Mapping[str, object]) -> object:
    if isinstance(node, ast.Constant) and isinstance(node.value, (str, int, float)):
        return node.value
    if isinstance(node, ast.Name) and node.id in names:
        return names[node.id]
    if isinstance(node, (ast.Tuple, ast.List)):
        return tuple(fold(element, names) for element in node.elts)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_number(fold(node.operand, names))
    if isinstance(node, ast.BinOp):
        return _binary(node.op, fold(node.left, names), fold(node.right, names))
    if isinstance(node, ast.JoinedStr):
        return "".join(_formatted(part, names) for part in node.values)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return _method(node, node.func, names)
    raise NotConstant(ast.unparse(node)[:60])


def _number(value: object) -> int | float:
    if not isinstance(value, (int, float)) or abs(value) > 2**64:
        raise NotConstant(f"{value!r:.40} is no number of ordinary size")
    return value


def _binary(operation: ast.operator, left: object, right: object) -> object:
    if isinstance(operation, ast.Add) and isinstance(left, str) and isinstance(right, str):
        return left + right
    if isinstance(operation, ast.Mod) and isinstance(left, str):
        return _bounded(left, left.replace("%%", "")) % right
    if isinstance(operation, ast.Mult) and isinstance(left, str) and isinstance(right, int):
        if len(left) * right > MAX_TEXT:
            raise NotConstant("too long")
        return left * right
    a, b = _number(left), _number(right)
    if isinstance(operation, ast.Add):
        return a + b
    if isinstance(operation, ast.Sub):
        return a - b
    if isinstance(operation, ast.Mult):
        return a * b
    if isinstance(operation, ast.FloorDiv):
        return a // b
    if isinstance(operation, ast.Div):
        return a / b
    raise NotConstant(type(operation).__name__)


def _bounded(template: str, fields: str) -> str:
    """``template`` when no field of it can ask for a huge width."""
    digits = 0
    for previous, character in zip(" " + fields, fields, strict=False):
        digits = digits + 1 if character.isdigit() else 0
        if digits > 3 and ("%" in fields or "{" in fields or ":" in fields) and previous.isdigit():
            raise NotConstant("a format with a very large width")
    return template


def _formatted(part: ast.expr, names: Mapping[str, object]) -> str:
    if isinstance(part, ast.Constant):
        return str(part.value)
    if not isinstance(part, ast.FormattedValue):
        raise NotConstant(type(part).__name__)
    value = fold(part.value, names)
    spec = str(fold(part.format_spec, names)) if part.format_spec is not None else ""
    shown = {ord("s"): str(value), ord("r"): repr(value), ord("a"): ascii(value)}.get(part.conversion, value)
    return format(shown, _bounded(spec, ":" + spec))


def _method(node: ast.Call, function: ast.Attribute, names: Mapping[str, object]) -> object:
    text = fold(function.value, names)
    arguments = [fold(a, names) for a in node.args]
    keywords = {k.arg: fold(k.value, names) for k in node.keywords if k.arg}
    if not isinstance(text, str):
        raise NotConstant(f".{function.attr} of {type(text).__name__}")
    if function.attr == "replace" and len(arguments) == 2 and not keywords:
        old, new = str(arguments[0]), str(arguments[1])
        if (text.count(old) + 1) * len(new) > MAX_TEXT:
            raise NotConstant("too long")
        return text.replace(old, new)
    if function.attr == "format":
        return _bounded(text, text).format(*arguments, **keywords)
    if function.attr == "join" and len(arguments) == 1 and isinstance(arguments[0], tuple):
        return text.join(arguments[0])
    if function.attr in ("strip", "lstrip", "rstrip", "upper", "lower") and not arguments and not keywords:
        return str(getattr(text, function.attr)())
    raise NotConstant(f".{function.attr}()")

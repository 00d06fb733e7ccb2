"""Bytes and FLOPs of a task as arithmetic over its sizes: ``2 * M * N * K``, ``rows * cols * itemsize``."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping

from kernelwright.tasks.errors import TaskError

ITEMSIZE: Mapping[str, int] = {
    **dict.fromkeys(("bool", "uint8", "int8", "float8_e4m3fn", "float8_e5m2"), 1),
    **dict.fromkeys(("int16", "uint16", "float16", "bfloat16"), 2),
    **dict.fromkeys(("int32", "uint32", "float32"), 4),
    **dict.fromkeys(("int64", "uint64", "float64", "complex64"), 8),
    "complex128": 16,
}
"""dtype -> bytes an element."""

_OPERATORS: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: math.pow,  # in floats: an integer's power can take longer than anybody waits
}
_FUNCTIONS: Mapping[str, Callable[..., float]] = {"min": min, "max": max, "ceil": math.ceil, "log2": math.log2}


def evaluate(expression: str, names: Mapping[str, float]) -> float:
    """The value of ``expression``: numbers, ``names``, ``+ - * / // % **``, ``min max ceil log2``; nothing else runs.

    Raises:
        TaskError: an unknown name (lists the known ones), or anything that is not arithmetic.
    """
    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except SyntaxError as error:
        raise TaskError(
            f"{expression!r} is no arithmetic expression: {error.msg}", "write it like 2 * M * N"
        ) from error
    try:
        return _value(tree.body, names)
    except (ArithmeticError, ValueError) as error:
        raise TaskError(f"{expression!r} cannot be computed: {error}", "check the sizes it divides by") from error


def _value(node: ast.expr, names: Mapping[str, float]) -> float:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return float(node.value) if isinstance(node.value, float) else int(str(node.value))
    if isinstance(node, ast.Name):
        if node.id not in names:
            raise TaskError(f"unknown name {node.id!r} in an expression", f"known: {', '.join(sorted(names))}")
        return names[node.id]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand, names)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_value(node.left, names), _value(node.right, names))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS:
        return _FUNCTIONS[node.func.id](*[_value(argument, names) for argument in node.args])
    raise TaskError(
        f"{ast.unparse(node)!r} is no arithmetic", "use numbers, sizes, + - * / // % ** and min, max, ceil, log2"
    )

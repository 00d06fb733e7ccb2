"""Definitions of flashinfer-trace and SOL-ExecBench, as read from ``definition.json``: axes, inputs, outputs, a reference.

Axes are ``const``, ``var`` (a workload gives them) or ``expr`` (arithmetic over others); inputs and outputs have a shape over
axes, or none where they are plain numbers, and a dtype; the reference is Python text with a function ``run``.
"""

from __future__ import annotations

import ast
import keyword
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kernelwright.tasks.errors import TaskError
from kernelwright.tasks.expression import evaluate
from kernelwright.tasks.suites.text import defined, missing_imports


@dataclass(frozen=True)
class Definition:
    """A definition as read, its fields checked."""

    name: str
    op: str
    description: str
    axes: Mapping[str, Mapping[str, Any]]
    inputs: Mapping[str, Mapping[str, Any]]
    outputs: Mapping[str, Mapping[str, Any]]
    reference: str
    custom: str | None = None
    """The function of the reference that makes inputs of kind ``custom``."""


def read_definition(data: Any) -> Definition:
    """The definition in a JSON document.

    Raises:
        TaskError: a field is missing or of another kind, the reference has no ``run`` or needs packages beyond torch's.
    """
    _check(data)
    reference = str(data["reference"])
    names = defined(reference)
    custom = data.get("custom_inputs_entrypoint") or None
    for needed in ("run", custom):
        if needed is not None and not isinstance(names.get(needed), ast.FunctionDef):
            raise TaskError(f"its reference defines no function {needed}")
    missing = missing_imports(reference)
    if missing:
        raise TaskError(f"it needs {', '.join(missing)}")
    op = str(data.get("op_type") or data.get("type") or "")
    description = " ".join(str(data.get("description") or "").split())
    return Definition(data["name"], op, description, data["axes"], data["inputs"], data["outputs"], reference, custom)


def _check(data: Any) -> None:
    """Refuse a document whose fields are missing or of another kind."""
    if not isinstance(data, Mapping):
        raise TaskError("its definition is no JSON object")
    for key, kind in (("name", str), ("reference", str), ("axes", Mapping), ("inputs", Mapping), ("outputs", Mapping)):
        if not isinstance(data.get(key), kind):
            raise TaskError(f"its definition lacks {key!r}, or it is of another kind")
    for part in ("axes", "inputs", "outputs"):
        if not all(isinstance(value, Mapping) for value in data[part].values()):
            raise TaskError(f"{part} of its definition are no objects")
    for name in data["inputs"]:
        if not name.isidentifier() or keyword.iskeyword(name):
            raise TaskError(f"the input {name!r} of its definition can be no parameter")


def resolve_axes(definition: Definition, values: Mapping[str, int]) -> dict[str, int]:
    """Every axis' size for the given ``var`` axes.

    Raises:
        TaskError: an axis of an unknown type, or an expression that is no arithmetic over the axes before it.
    """
    sizes: dict[str, int] = {}
    for axis, spec in definition.axes.items():
        if spec.get("type") == "const" and type(spec.get("value")) is int:
            sizes[axis] = spec["value"]
        elif spec.get("type") == "var":
            sizes[axis] = values[axis]
        elif spec.get("type") != "expr":
            raise TaskError(f"the axis {axis} is neither const with a whole number, var nor expr")
    for axis, text in expressions(definition).items():
        sizes[axis] = int(evaluate(text, sizes))
    return sizes


def expressions(definition: Definition) -> dict[str, str]:
    """Expression axes, each behind those it reads."""
    left = {a: str(s.get("expression", "")) for a, s in definition.axes.items() if s.get("type") == "expr"}
    ordered: dict[str, str] = {}
    while left:
        ready = [a for a, text in left.items() if not _names(text) & set(left)]
        if not ready:
            raise TaskError(f"the axes {', '.join(left)} are defined by each other")
        ordered.update({a: left.pop(a) for a in ready})
    return ordered


def _names(expression: str) -> set[str]:
    try:
        return {n.id for n in ast.walk(ast.parse(expression.strip(), mode="eval")) if isinstance(n, ast.Name)}
    except SyntaxError as error:
        raise TaskError(f"{expression!r} is no arithmetic expression: {error.msg}") from error

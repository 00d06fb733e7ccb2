"""Workloads of a definition: sizes of its ``var`` axes, and where each input comes from.

Kinds of inputs: ``random``, ``scalar`` (a number), ``safetensors`` (a tensor in a file), ``custom`` (a function of the
reference makes it).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernelwright.tasks.errors import TaskError
from kernelwright.tasks.expression import evaluate
from kernelwright.tasks.suites.definition import Definition, resolve_axes

_LFS = b"version https://git-lfs"
_KINDS = ("random", "scalar", "safetensors", "custom")


@dataclass(frozen=True)
class Workload:
    """One line of a workload file, checked."""

    values: Mapping[str, Any]
    """Axes, and under the input's name what a scalar or stored input is."""
    kinds: tuple[str, ...]
    """Where each input comes from, in the definition's order."""
    elements: float
    """Of all inputs together."""


def read_workload(definition: Definition, workload: Any, folder: Path, roots: Sequence[Path]) -> Workload:
    """A workload checked against its definition.

    Args:
        folder: the definition's; stored inputs are named from it.
        roots: folders in which the paths of stored inputs may start.

    Raises:
        TaskError: it lacks an axis, has an input of an unknown kind, or a stored input is not there.
    """
    axes, given = (workload.get(k) for k in ("axes", "inputs")) if isinstance(workload, Mapping) else (None, None)
    if not isinstance(axes, Mapping) or not isinstance(given, Mapping):
        raise TaskError("a workload has no axes or no inputs")
    values: dict[str, Any] = {}
    for axis, spec in definition.axes.items():
        if spec.get("type") == "var":
            if type(axes.get(axis)) is not int:
                raise TaskError(f"a workload gives no whole number for the axis {axis}")
            values[axis] = axes[axis]
    sizes = resolve_axes(definition, values)
    kinds, elements = [], 1.0
    for name, spec in definition.inputs.items():
        source = given.get(name, {"type": "random"})
        kind = source.get("type") if isinstance(source, Mapping) else None
        if kind not in _KINDS:
            raise TaskError(f"the input {name} comes from {kind!r}, expected one of {', '.join(_KINDS)}")
        if kind == "custom" and definition.custom is None:
            raise TaskError(f"the input {name} is custom and the definition names no custom_inputs_entrypoint")
        if kind == "scalar":
            values[key_of(definition, name)] = source.get("value")
        if kind == "safetensors":
            file = _blob(str(source.get("path", "")), folder, roots)
            values[key_of(definition, name)] = {"file": file, "key": str(source.get("tensor_key", ""))}
        kinds.append(str(kind))
        elements += _elements(spec, sizes)
    return Workload(values, tuple(kinds), elements)


def key_of(definition: Definition, name: str) -> str:
    """The parameter that holds an input; an axis may have the input's name."""
    return f"{name}_input" if name in definition.axes else name


def _elements(spec: Mapping[str, Any], sizes: Mapping[str, int]) -> float:
    count = 1.0
    for axis in spec.get("shape") or ():
        count *= evaluate(str(axis), sizes)
    return count


def _blob(given: str, folder: Path, roots: Sequence[Path]) -> str:
    """A stored input's path from ``folder``; leading parts that a root already has are dropped, as upstream does."""
    parts = Path(given).parts
    for root in roots:
        for start in range(len(parts)):
            file = root / Path(*parts[start:])
            if file.is_file():
                with file.open("rb") as stream:
                    if stream.read(len(_LFS)) == _LFS:
                        raise TaskError(f"{given} is a Git LFS pointer: `git lfs pull` fetches it")
                return Path(os.path.relpath(file, folder)).as_posix()
    raise TaskError(f"the stored inputs {given} are not there")

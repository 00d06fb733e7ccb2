"""KernelBench-Hard: ``problems*/NN_*/`` with ``reference.py``, ``shapes.py`` and ``problem.yaml``.

Upstream sets the reference's module-level names from each row of ``SHAPES`` (as they are, or in capitals). Rows are the
cases here. Tolerances and forbidden operators are our judge's own, not those of ``problem.yaml``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from kernelwright.tasks.errors import TaskError
from kernelwright.tasks.records import ShapeCase, Task
from kernelwright.tasks.schema import read_yaml
from kernelwright.tasks.shapes import integers
from kernelwright.tasks.slots import parse
from kernelwright.tasks.suites.plain import Entry, check, collect, folders, natural, read
from kernelwright.tasks.suites.suite import Loaded, Selection
from kernelwright.tasks.suites.table import product, scaled, spread
from kernelwright.tasks.suites.upstream import Rule, Tolerance

_DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16", "int4_bf16": "bfloat16"}
"""``precision`` of a problem -> the dtype that floating inputs and parameters are judged in."""

_RULE = Rule(
    stated="KernelBench-Hard 649cfb9: a problem's check.py and src/eval/correctness.py",
    tolerance={
        **dict.fromkeys(("", "float32"), Tolerance(1e-4, 1e-4)),
        **dict.fromkeys(("float16", "bfloat16"), Tolerance(1e-2, 1e-2)),
        **dict.fromkeys(("int8", "int32", "int64"), Tolerance(0.0, 0.0)),
    },
    seeds=(42, 123, 456),
    reseeded=True,
    listed=True,
    weights="copied",
    finite=True,
    omits=("shapes beyond the cases of the task", "its speed: a share of the roofline, no speedup"),
)

_USUAL = ("reference.get_inputs()", "check_correctness(", "(42, 123, 456)")
"""What a ``check.py`` has that follows the rule."""


class KernelBenchHard:
    """KernelBench-Hard's references at its own shapes."""

    name = "kernelbench-hard"
    summary = "KernelBench-Hard: problems*/NN_*, shapes set as module-level names; FP8 problems are left out"

    def load(self, root: Path, select: Selection) -> Loaded:
        """Every selected problem.

        Raises:
            TaskError: there are no problems under ``root``.
        """
        inside = "benchmarks/hard" if (root / "benchmarks" / "hard").is_dir() else "."
        groups = folders(root, inside, "problems*", "KernelBench-Hard")
        notes: list[str] = ["tolerances are our judge's, and what upstream forbids by name falls under our own rules"]
        loaded = collect(self._entries(groups, select, notes))
        return Loaded(loaded.tasks, loaded.left_out, tuple(notes))

    def upstream(self, task: Task, root: Path) -> Rule:
        """The problem's ``check.py`` with the tolerances and forbidden words of its ``problem.yaml``.

        Raises:
            TaskError: its ``check.py`` makes inputs, or compares, by code of its own.
        """
        folder = root / Path(task.path).parent
        text = read(folder / "check.py")
        if not all(part in text for part in _USUAL):
            raise TaskError("its check.py makes inputs or compares by code of its own")
        facts = read_yaml(folder / "problem.yaml") if (folder / "problem.yaml").is_file() else {}
        own = facts.get("tolerance") or {}
        tolerance = {str(dtype).removeprefix("torch."): _tolerance(value) for dtype, value in own.items()}
        forbidden = tuple(map(str, facts.get("forbidden") or ()))
        return replace(_RULE, tolerance={**_RULE.tolerance, **tolerance}, forbidden=forbidden)

    def _entries(self, groups: Mapping[str, Path], select: Selection, notes: list[str]) -> Iterator[Entry]:
        for group, folder in groups.items():
            for entry in sorted(folder.glob("[0-9]*_*"), key=lambda p: natural(p.name)):
                name = f"{self.name}/{group}/{entry.name}"
                if entry.is_dir() and select.wants(group, name):
                    yield name, partial(_task, name, entry, select.scale, notes)


def _task(name: str, folder: Path, scale: float | None, notes: list[str]) -> Task:
    source = read(folder / "reference.py")
    check(source, ("Model", "get_inputs", "get_init_inputs"))
    facts = read_yaml(folder / "problem.yaml") if (folder / "problem.yaml").is_file() else {}
    precision = str(facts.get("precision", "fp32"))
    if precision not in _DTYPES:
        raise TaskError(f"its precision is {precision}; the judge knows {', '.join(_DTYPES)}")
    rows, unknown = _placed(_shapes(read(folder / "shapes.py")), set(integers(source)))
    if unknown:
        notes.append(f"{name}: shapes with {', '.join(unknown)} need upstream's own inputs and are left out")
    if not rows:
        raise TaskError("none of its shapes can be set by module-level integers of its reference")
    cases: list[ShapeCase] = []
    for entry in spread(scaled(rows, product, scale), product):
        label = ",".join(f"{key}={value}" for key, value in entry.values.items())
        cases.append(ShapeCase(label, entry.use, dict(entry.values), (_DTYPES[precision],)))
    summary = str(facts.get("display_name", folder.name))
    return Task(name, source, str(folder / "reference.py"), tuple(cases), "hard", summary=summary)


def _tolerance(value: Any) -> Tolerance:
    """One entry of ``tolerance``: a number for both kinds, or a mapping."""
    pair = (value.get("atol", 0), value.get("rtol", 0)) if isinstance(value, Mapping) else (value, value)
    try:
        return Tolerance(*map(float, pair))
    except (TypeError, ValueError) as error:
        raise TaskError(f"its problem.yaml has the tolerance {value!r}") from error


def _shapes(text: str) -> list[Mapping[str, Any]]:
    """The rows of ``SHAPES``, read as a literal."""
    for statement in parse(text).body:
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        if isinstance(statement, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "SHAPES" for t in targets):
            try:
                rows = ast.literal_eval(statement.value)
            except ValueError as error:
                raise TaskError("SHAPES in its shapes.py is no literal") from error
            if isinstance(rows, list) and all(isinstance(row, dict) for row in rows):
                return rows
    raise TaskError("its shapes.py has no list SHAPES of mappings")


def _placed(rows: list[Mapping[str, Any]], names: set[str]) -> tuple[list[Mapping[str, int]], list[str]]:
    """Rows by the reference's own names, and the keys of rows that need more than that. A flag that is off needs nothing."""
    placed: list[Mapping[str, int]] = []
    unknown: set[str] = set()
    for row in rows:
        sizes = {key: _place(key, value, names) for key, value in row.items() if value is not False}
        strange = [key for key, place in sizes.items() if place is None]
        unknown.update(strange)
        if not strange:
            placed.append({str(place): row[key] for key, place in sizes.items()})
    return placed, sorted(unknown)


def _place(key: str, value: Any, names: set[str]) -> str | None:
    """The module-level integer that upstream sets for ``key``."""
    return next((n for n in (key, key.upper(), key.lower()) if n in names), None) if type(value) is int else None

"""``task.yaml`` to a :class:`Task`: every key known, every value checked, so that a slip is one clear line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from kernelwright.tasks.errors import TaskError
from kernelwright.tasks.expression import evaluate
from kernelwright.tasks.records import DTYPES, ShapeCase, Task, Use
from kernelwright.tasks.shapes import integers

CATEGORIES = (
    "activation",
    "architecture",
    "broadcast",
    "convolution",
    "fusion",
    "index",
    "loss",
    "math",
    "matmul",
    "normalization",
    "optimizer",
    "pooling",
    "reduce",
    "resize",
    "custom",
)
SCENARIOS = ("algebra", "llm", "sparse", "scientific")
_DEVICES = ("cpu", "cuda")
_CASE_KEYS = ("name", "use", "sizes", "dtypes", "device")
_TASK_KEYS = (
    "category",
    "family",
    "scenario",
    "summary",
    "dtypes",
    "cases",
    "bytes",
    "flops",
    "library",
    "rtol",
    "deterministic",
    "static_parameters",
    "training",
    "shrinks",
)


class Fields:
    """A mapping read with checks; errors name the file, the key, what it holds and what it may hold."""

    def __init__(self, data: Any, where: str, allowed: Sequence[str]) -> None:
        if not isinstance(data, Mapping):
            raise TaskError(f"{where} holds {_shown(data)}, expected a mapping", f"keys: {', '.join(allowed)}")
        unknown = [key for key in data if key not in allowed]
        if unknown:
            raise TaskError(f"{where} has the unknown key {unknown[0]!r}", f"allowed: {', '.join(allowed)}")
        self._data = data
        self._where = where

    def wrong(self, key: str, expected: str) -> TaskError:
        """The error for a value that is not what was expected; or for its absence."""
        if key not in self._data:
            return TaskError(f"{self._where} lacks {key!r}", f"expected {expected}")
        return TaskError(f"{self._where}: {key} is {_shown(self._data[key])}", f"expected {expected}")

    def text(self, key: str, default: str | None = None, allowed: Sequence[str] = ()) -> str:
        """A string, one of ``allowed`` where given; a number counts as its text (a ``bytes`` of 8)."""
        expected = f"one of {', '.join(allowed)}" if allowed else "text"
        value = self._data.get(key, default)
        if type(value) is int:
            value = str(value)
        if not isinstance(value, str) or (allowed and value != default and value not in allowed):
            raise self.wrong(key, expected)
        return " ".join(value.split())

    def flag(self, key: str) -> bool:
        value = self._data.get(key, False)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def count(self, key: str) -> int | None:
        """A whole number of at least 1; None where the key is absent."""
        value = self._data.get(key)
        if value is not None and (type(value) is not int or value < 1):
            raise self.wrong(key, "a whole number of at least 1")
        return value

    def strings(self, key: str, default: Sequence[str], allowed: Sequence[str] = ()) -> tuple[str, ...]:
        value = self._data.get(key, default)
        expected = f"a list of {', '.join(allowed)}" if allowed else "a list of names"
        if not isinstance(value, (list, tuple)) or (not value and key in self._data):
            raise self.wrong(key, expected)
        if any(not isinstance(v, str) or (allowed and v not in allowed) for v in value):
            raise self.wrong(key, expected)
        return tuple(value)

    def rows(self, key: str) -> list[Any]:
        value = self._data.get(key)
        if not isinstance(value, list) or not value:
            raise self.wrong(key, "a list with at least one entry")
        return value

    def numbers(self, key: str, kind: str) -> dict[str, Any]:
        """A mapping of names to numbers: ``integers`` only, or any positive ``numbers``."""
        value = self._data.get(key, {})
        fits = (int,) if kind == "integers" else (int, float)
        if not isinstance(value, Mapping) or any(type(v) not in fits or v <= 0 for v in value.values()):
            raise self.wrong(key, f"names with positive {kind}")
        return {str(k): v for k, v in value.items()}


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def read_yaml(path: Path) -> Any:
    """The file's data.

    Raises:
        TaskError: it cannot be read as YAML; gives the line.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise TaskError(f"{path} is no YAML: line {line}: {error.problem}", "correct its syntax") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise TaskError(f"{path} is no YAML: {error}", "save it as UTF-8 text") from error


def read_task(name: str, source: str, reference: Path, path: Path) -> Task:
    """The task that ``task.yaml`` at ``path`` makes of a reference.

    Raises:
        TaskError: an unknown key, a value that does not fit, a size that the reference does not have.
    """
    fields = Fields(read_yaml(path), str(path), _TASK_KEYS)
    dtypes = fields.strings("dtypes", ("float32",), DTYPES)
    sizes = integers(source)
    cases = tuple(
        _read_case(row, f"{path}: case {number}", dtypes, sizes) for number, row in enumerate(fields.rows("cases"), 1)
    )
    _check_cases(cases, path)
    tolerances = fields.numbers("rtol", "numbers")
    if set(tolerances) - set(DTYPES):
        raise fields.wrong("rtol", f"tolerances for {', '.join(DTYPES)}")
    task = Task(
        name=name,
        source=source,
        path=str(reference),
        cases=cases,
        category=fields.text("category", allowed=CATEGORIES),
        family=fields.text("family"),
        scenario=fields.text("scenario", "", SCENARIOS),
        summary=fields.text("summary"),
        bytes=fields.text("bytes", ""),
        flops=fields.text("flops", ""),
        library=fields.strings("library", ()),
        rtol={dtype: float(value) for dtype, value in tolerances.items()},
        deterministic=fields.flag("deterministic"),
        static_parameters=fields.flag("static_parameters"),
        training=fields.flag("training"),
        shrinks=fields.strings("shrinks", (), tuple(sizes)),
    )
    for key, expression in (("bytes", task.bytes), ("flops", task.flops)):
        _check_expression(expression, f"{path}: {key}", sizes)
    return task


def _read_case(data: Any, where: str, dtypes: tuple[str, ...], known: Mapping[str, int]) -> ShapeCase:
    fields = Fields(data, where, _CASE_KEYS)
    sizes = fields.numbers("sizes", "integers")
    for size in sizes:
        if size not in known:
            raise TaskError(
                f"{where}: the reference has no module-level integer {size!r}", f"it has: {', '.join(known) or 'none'}"
            )
    return ShapeCase(
        name=fields.text("name"),
        use=Use(fields.text("use", allowed=[use.value for use in Use])),
        sizes=sizes,
        dtypes=fields.strings("dtypes", dtypes, DTYPES),
        device=fields.text("device", "", _DEVICES) or None,
    )


def _check_cases(cases: tuple[ShapeCase, ...], path: Path) -> None:
    names = [case.name for case in cases]
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise TaskError(f"{path}: two cases are called {repeated[0]!r}", "give each case its own name")
    for device in _DEVICES:
        here = {case.use for case in cases if case.device in (None, device)}
        if Use.CORRECTNESS not in here:
            raise TaskError(f"{path} has no correctness case for {device}", "add a small one without a device")


def _check_expression(expression: str, where: str, sizes: Mapping[str, int]) -> None:
    if not expression:
        return
    try:
        value = evaluate(expression, {**sizes, "itemsize": 4})
    except TaskError as error:
        raise TaskError(f"{where}: {error.message}", error.remedy) from error
    if value <= 0:
        raise TaskError(f"{where} is {value:g} for the reference's own sizes", "expected a positive number")

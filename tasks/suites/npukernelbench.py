"""NPUKernelBench: ``tasks/level*/<category>/<entry>/validation/`` of ``module.py``, ``prepare_inputs.py``, ``test_cases.csv``.

The reference is ``Model`` of ``module.py``, taken without ``ModelNew`` and the imports that only an NPU has; inputs come from
``get_inputs(param, device)`` for each row of the CSV (``;`` between fields). Values are typed by column as upstream does, with
pandas: whole numbers, fractions, booleans, else text; an empty field is NaN.
"""

from __future__ import annotations

import ast
import csv
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from kernelwright.tasks.errors import TaskError
from kernelwright.tasks.records import Task
from kernelwright.tasks.suites.plain import Entry, collect
from kernelwright.tasks.suites.suite import Loaded, Selection
from kernelwright.tasks.suites.table import Table, product, scaled, spread, tabulate
from kernelwright.tasks.suites.text import defined, gradients, imports, missing_imports, renamed, seeding, without
from kernelwright.tasks.suites.upstream import Rule, Tolerance

_FILES = ("module.py", "prepare_inputs.py", "test_cases.csv")
_NPU_ONLY = ("torch_npu", "kernel_gen_ops", "framework", "__future__")
_CHECKS = ("check_precision", "custom_check_precision")
_RULE = Rule(
    stated="NPUKernelBench 6b84216: check_precision of framework/utils.py at the settings of base_config.yaml",
    tolerance={"": Tolerance(1e-3, 1e-3)},
    listed=True,
    cloned=True,
    either=True,
    floor=1e-7,
    finite=True,
    omits=("rows of its test_cases.csv beyond the cases of the task",),
)
_EMPTY = {"", "nan", "NaN", "NA", "N/A", "None", "null", "NULL", "<NA>"}
"""Fields that pandas reads as NaN."""
_TAIL = """

def plain(values):
    return [v.item() if type(v).__module__ == "numpy" and not v.shape else v for v in values]


def get_inputs():
{seeds}    return plain(prepare_inputs({param}, torch.empty(0).device))


def get_init_inputs():
    return plain(prepare_init_inputs({param}, torch.empty(0).device))
"""


class NpuKernelBench:
    """NPUKernelBench's references, without its NPU operators."""

    name = "npukernelbench"
    summary = "NPUKernelBench: tasks/level*/<category>/<entry>/validation, references run on any device"

    def load(self, root: Path, select: Selection) -> Loaded:
        """Every selected entry; what cannot be read or needs packages beyond torch and NumPy is left out, with the reason.

        Raises:
            TaskError: there are no entries under ``root``.
        """
        base = root / "tasks" if (root / "tasks").is_dir() else root
        folders = sorted(f for f in base.glob("level*/*/*/validation") if f.is_dir())
        if not folders:
            raise TaskError(f"{root} holds no tasks/level*/*/*/validation", "give the root of a clone of NPUKernelBench")
        entries: list[Entry] = []
        for folder in folders:
            level, category, entry = folder.parts[-4:-1]
            name = f"{self.name}/{level}/{entry}"
            if not select.wants(level, name):
                continue
            entries.append((name, partial(_task, name, category, folder, select.scale)))
        return collect(entries, ["outputs are compared by our judge; an entry's own custom_check_precision is not used"])

    def upstream(self, task: Task, root: Path) -> Rule:
        """Its precision check.

        Raises:
            TaskError: the entry checks outputs by a function of its own.
        """
        prepare = _read(root / Path(task.path).parent / "prepare_inputs.py")
        if "custom_check_precision" in defined(prepare):
            raise TaskError("upstream checks its outputs by the entry's own custom_check_precision")
        return _RULE


def _task(name: str, category: str, folder: Path, scale: float | None) -> Task:
    module, prepare, table = (_read(folder / file) for file in _FILES)
    body = _body(module, prepare)
    rows = scaled(_rows(table), _work, scale)
    found = tabulate(spread(rows, _work), body)
    return Task(
        name=name,
        source=_source(body, found),
        path=str(folder / "module.py"),
        cases=found.cases,
        category=category.lower(),
        summary=f"{category}: {folder.parent.name}",
    )


def _read(path: Path) -> str:
    if not path.is_file():
        raise TaskError(f"it has no {path.name}")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise TaskError(f"{path.name} is not UTF-8 text") from error


def _body(module: str, prepare: str) -> str:
    """Reference and input maker in one text; the maker's functions make room for the ones of our own convention."""
    if "Model" not in defined(module):
        raise TaskError("its module.py defines no Model")
    makers = {name for name in ("get_inputs", "get_init_inputs") if name in defined(prepare)}
    if len(makers) < 2:
        raise TaskError("its prepare_inputs.py does not define get_inputs and get_init_inputs")
    npu = imports(_NPU_ONLY)
    reference = without(module, lambda s: npu(s) or (isinstance(s, ast.ClassDef) and s.name == "ModelNew"))
    maker = without(prepare, lambda s: npu(s) or (isinstance(s, ast.FunctionDef) and s.name in _CHECKS))
    body = f"import torch\n\n{reference}\n\n{renamed(maker, {n: n.replace('get', 'prepare') for n in makers})}"
    missing = missing_imports(body)
    if missing:
        raise TaskError(f"it needs {', '.join(missing)}")
    return body


def _rows(text: str) -> list[Mapping[str, Any]]:
    """The CSV's rows, typed by column."""
    lines = [line for line in text.splitlines() if line.strip()]
    reader = csv.DictReader(lines, delimiter=";")
    rows = list(reader)
    if not rows or reader.fieldnames is None or "case_id" not in reader.fieldnames:
        raise TaskError("its test_cases.csv has no rows, or no case_id (fields stand between semicolons)")
    columns = {key: _typed([row[key] or "" for row in rows]) for key in reader.fieldnames if key and key != "case_id"}
    return [{key: values[i] for key, values in columns.items()} for i in range(len(rows))]


def _typed(fields: list[str]) -> list[Any]:
    """One column as upstream's pandas types it."""
    stripped = [field.strip() for field in fields]
    if all(field in ("True", "False", "TRUE", "FALSE", "true", "false") for field in stripped):
        return [field.lower() == "true" for field in stripped]
    try:
        numbers = [math.nan if field in _EMPTY else float(field) for field in stripped]
    except ValueError:
        return [math.nan if field.strip() in _EMPTY else field for field in fields]
    return [int(n) for n in numbers] if all(math.isfinite(n) and n == int(n) for n in numbers) else numbers


def _work(row: Mapping[str, Any]) -> float:
    """Elements of the largest shape that the row gives as text, times its whole numbers."""
    return product(row) * max([1.0, *(_elements(v) for v in row.values() if isinstance(v, str))])


def _elements(text: str) -> float:
    try:
        shape = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError):
        return 1.0
    return _size(shape)


def _size(shape: Any) -> float:
    if not isinstance(shape, (list, tuple)):
        return 1.0
    if any(isinstance(s, (list, tuple)) for s in shape):
        return sum(map(_size, shape))
    return float(math.prod(s for s in shape if type(s) is int and s > 0))


def _source(body: str, table: Table) -> str:
    seeds = "".join(f"    {line}\n" for line in seeding(body))
    tail = _TAIL.format(seeds=seeds, param=table.mapping())
    return f"{body}{gradients(body, 'Model.forward')}\n\n# The case, replaced for each.\n{table.text}\n{tail}"

"""MultiKernelBench: ``reference/<category>/<op>.py``, plain files, some with ``get_input_groups`` and a sibling JSONL.

``get_input_groups`` reads its cases from the file beside it, which it finds by ``__file__``. The synthesised reference has
the cases in its text instead: its own ``open`` gives the current one. Dimensions are module-level integers, so that sizes
of held-out cases do not stand in the text that writers see.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from kernelwright.tasks.errors import TaskError
from kernelwright.tasks.records import DTYPES, Task, Use
from kernelwright.tasks.suites.plain import Entry, check, collect, derived_task, folders, natural, read
from kernelwright.tasks.suites.suite import Loaded, Selection
from kernelwright.tasks.suites.table import Entry as Case
from kernelwright.tasks.suites.table import literal, scaled, spread, tabulate
from kernelwright.tasks.suites.upstream import Clock, Rule, Tolerance

_SHIM = '''
# One case of {file}, replaced for each: a form of its inputs, and their dimensions.
{table}
FORMS = [
{forms}
]
__file__ = {name!r}


def open(*_args, **_keywords):
    """The current case, where the text below reads its file."""
    import io
    import json

    return io.StringIO(json.dumps({{"inputs": FORMS[form]()}}))


{source}

def get_inputs():
    return get_input_groups()[0]
'''


_NOTES = (
    "a case of a JSONL is judged with all floating inputs in the dtype of its first one",
    "cases of a JSONL without any elements are left out: any output is right for them",
)

_RULE = Rule(
    stated="MultiKernelBench 460a972: utils/correctness.py and utils/performance.py",
    tolerance={"": Tolerance(1e-4, 1e-4)},
    trials=5,
    seed=1024,
    clock=Clock(warmups=3, repeats=100, statistic="mean"),
)


class MultiKernelBench:
    """MultiKernelBench's references, without those that call an NPU's own operators."""

    name = "multikernelbench"
    summary = "MultiKernelBench: reference/<category>/<op>.py; with get_input_groups, cases of the sibling JSONL"

    def load(self, root: Path, select: Selection) -> Loaded:
        """Every selected reference that runs on any device.

        Raises:
            TaskError: there are no categories under ``root``.
        """
        categories = folders(root, "reference", "[a-z]*", "MultiKernelBench")
        if not any(True for folder in categories.values() for _ in folder.glob("*.py")):
            raise TaskError(f"{root} holds no reference/<category>/<op>.py", "give the root of a clone of MultiKernelBench")
        return collect(self._entries(categories, select), _NOTES)

    def upstream(self, task: Task, root: Path) -> Rule:
        """Five draws at one seed; where there is a JSONL, a draw of each of its cases."""
        if "def get_input_groups" not in task.source:
            return _RULE
        return replace(_RULE, trials=1, listed=True, omits=("cases of its JSONL beyond those of the task",))

    def _entries(self, categories: Mapping[str, Path], select: Selection) -> Iterator[Entry]:
        for category, folder in categories.items():
            for path in sorted(folder.glob("*.py"), key=lambda p: natural(p.name)):
                name = f"{self.name}/{category}/{path.stem}"
                if not path.name.startswith("_") and select.wants(category, name):
                    yield name, partial(_task, name, path, category, select.scale)


def _task(name: str, path: Path, category: str, scale: float | None) -> Task:
    source = read(path)
    grouped = "def get_input_groups" in source
    check(source, ("Model", "get_input_groups" if grouped else "get_inputs", "get_init_inputs"))
    if not grouped:
        return derived_task(name, path, category, source, scale)
    rows = _rows(path.with_suffix(".json") if path.with_suffix(".json").is_file() else path.with_suffix(".jsonl"))
    cases = _with_hidden(spread(rows := scaled(rows, _work, scale), _work), rows)
    forms = list(dict.fromkeys(_form(case.values) for case in cases))
    most = max(len(_dimensions(case.values)) for case in cases)
    table = tabulate([Case(c.use, _numbers(c.values, forms, most)) for c in cases], source)
    text = _SHIM.format(
        file=path.with_suffix(".json").name,
        table=table.text,
        forms="\n".join(f"    lambda: {form}," for form in forms),
        name=path.name,
        source=source,
    )
    dtypes = [(_dtype(case.values),) for case in cases]
    labelled = [replace(c, dtypes=d, name=_label(i, cases)) for i, (c, d) in enumerate(zip(table.cases, dtypes, strict=True))]
    return Task(name=name, source=text.lstrip(), path=str(path), cases=tuple(labelled), category=category)


def _rows(path: Path) -> list[Mapping[str, Any]]:
    """The cases of a JSON Lines file."""
    rows: list[Mapping[str, Any]] = []
    for number, line in enumerate(read(path).splitlines(), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise TaskError(f"{path.name}: line {number}: {error.msg}") from error
            if not (isinstance(row, dict) and isinstance(row.get("inputs"), list) and row["inputs"]):
                raise TaskError(f"{path.name}: line {number} has no list of inputs")
            rows.append(row)
    full = [row for row in rows if _work(row) > 0]
    if not full:
        raise TaskError(f"{path.name} has no cases with elements in them")
    return full


def _with_hidden(cases: Sequence[Case], rows: Sequence[Mapping[str, Any]]) -> list[Case]:
    """The visible ``cases`` and at most two held-out ones whose form (ranks, dtypes, settings) a visible one has, too.

    A form of their own would stand in the text, and give away what is held out.
    """
    visible = [case for case in cases if case.use is not Use.HELD_OUT]
    shown = {_form(case.values) for case in visible}
    seen = [_dimensions(case.values) for case in visible]
    hidden = [row for row in rows if _form(row) in shown and _dimensions(row) not in seen]
    hidden = sorted(hidden, key=_work)
    chosen = hidden if len(hidden) < 3 else [hidden[len(hidden) // 3], hidden[-1]]
    return [*visible, *(Case(Use.HELD_OUT, row) for row in chosen)]


def _form(row: Mapping[str, Any]) -> str:
    """The row's inputs as an expression over the dimensions ``d0``, ``d1``, … in order."""
    count = 0
    parts = []
    for given in row["inputs"]:
        fields = []
        for key, value in given.items():
            if _is_shape(key, value):
                fields.append(f'"{key}": [{", ".join(f"d{count + i}" for i in range(len(value)))}]')
                count += len(value)
            else:
                fields.append(f'"{key}": {literal(value)}')
        parts.append("{" + ", ".join(fields) + "}")
    return "[" + ", ".join(parts) + "]"


def _is_shape(key: str, value: Any) -> bool:
    return key == "shape" and isinstance(value, list) and all(type(d) is int for d in value)


def _dimensions(row: Mapping[str, Any]) -> list[int]:
    return [d for given in row["inputs"] for key, value in given.items() if _is_shape(key, value) for d in value]


def _numbers(row: Mapping[str, Any], forms: Sequence[str], most: int) -> Mapping[str, int]:
    """The row as integers: its form's place and its dimensions, filled up with ones."""
    dimensions = _dimensions(row)
    filled = [*dimensions, *[1] * (most - len(dimensions))]
    return {"form": forms.index(_form(row)), **{f"d{i}": d for i, d in enumerate(filled)}}


def _label(index: int, cases: Sequence[Case]) -> str:
    use = cases[index].use
    return f"{use.value}-{1 + sum(c.use is use for c in cases[:index])}"


def _dtype(row: Mapping[str, Any]) -> str:
    """The dtype of the first floating input; float32 where there is none."""
    return next((d for given in row["inputs"] if (d := given.get("dtype")) in DTYPES and _is_tensor(given)), "float32")


def _is_tensor(given: Mapping[str, Any]) -> bool:
    return "shape" in given


def _work(row: Mapping[str, Any]) -> float:
    """Elements of all inputs."""
    shapes = [value for given in row["inputs"] for key, value in given.items() if _is_shape(key, value)]
    return float(sum(map(math.prod, shapes)))

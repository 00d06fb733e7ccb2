"""robust-kbench: ``func_forward.py`` and ``config_forward.json`` in ``tasks/<entry>`` and ``tasks/kernelbench/level_*/task_*``.

``Model(**init)`` and ``get_inputs(**inputs)`` take keyword arguments, one set for each of init × inputs × shared. They become
module-level names and positional arguments in the order of ``Model``'s own constructor. Forward passes only.
"""

from __future__ import annotations

import ast
import itertools
import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from kernelwright.tasks.errors import TaskError
from kernelwright.tasks.records import Task
from kernelwright.tasks.suites.plain import Entry, check, collect, derived_task, natural, read
from kernelwright.tasks.suites.suite import Loaded, Selection
from kernelwright.tasks.suites.table import Table, product, scaled, spread, tabulate
from kernelwright.tasks.suites.text import defined, renamed
from kernelwright.tasks.suites.upstream import Clock, Rule, Tolerance

_MEASURED = ("filter_output_range", "filter_output_std", "filter_output_axes", "filter_input_impact", "filter_init_impact")
"""Upstream's filters that were computed; what a model said of a task (``filter_llm_*``) leaves nothing out."""
_TAIL = """

# The case, replaced for each.
{table}


def get_inputs():
    return make_inputs({inputs})


def get_init_inputs():
    return [{init}]
"""

_RULE = Rule(
    stated="robust-kbench 078f5ba: sandbox/correct_forward_fn.py and eval_forward_fn.py, with its multi_* settings",
    tolerance={"": Tolerance(1e-5, 1e-5)},
    trials=5,
    seed=42,
    reseeded=True,
    listed=True,
    first="both",
    fresh=True,
    single=True,
    clock=Clock(warmups=25, repeats=10_000, statistic="mean"),
    omits=("that the kernel is a function called in the reference's own module: here it is a ModelNew",),
)


class RobustKBench:
    """robust-kbench's forward tasks that its own filters let pass."""

    name = "robust-kbench"
    summary = "robust-kbench: func_forward.py with config_forward.json; honours the computed filters"

    def load(self, root: Path, select: Selection) -> Loaded:
        """Every selected task that upstream's filters let pass.

        Raises:
            TaskError: there are no tasks under ``root``.
        """
        base = root / "tasks" if (root / "tasks").is_dir() else root
        own = sorted(base.glob("*/func_forward.py"))
        others = sorted(base.glob("kernelbench/level_*/task_*/func_forward.py"), key=lambda p: natural(str(p)))
        if not (own or others):
            raise TaskError(f"{root} holds no tasks/*/func_forward.py", "give the root of a clone of robust-kbench with --path")
        notes = ("backward tasks are not read", "tasks that upstream's computed filters mark are left out")
        return collect(self._entries([*own, *others], select), notes)

    def upstream(self, task: Task, root: Path) -> Rule:
        """Its forward check: the kernel, the reference, the kernel again, in five draws of every setting."""
        return _RULE

    def _entries(self, files: list[Path], select: Selection) -> Iterator[Entry]:
        for file in files:
            folder = file.parent
            level = folder.parent.name if folder.parent.name.startswith("level_") else "robust"
            name = f"{self.name}/{level}/{_called(folder)}"
            if select.wants(level, name):
                yield name, partial(_task, name, folder, level, select.scale)


def _called(folder: Path) -> str:
    """``23_Softmax`` for ``task_23``, by KernelBench's own file beside it; else the folder's name."""
    number = folder.name.removeprefix("task_")
    return next((p.stem for p in sorted(folder.glob(f"{number}_*.py"))), folder.name)


def _task(name: str, folder: Path, level: str, scale: float | None) -> Task:
    marked = _marked(folder / "filter_results.json")
    if marked:
        raise TaskError(f"upstream's own filters mark it: {', '.join(marked)}")
    source = read(folder / "func_forward.py")
    check(source, ("Model", "get_inputs"))
    config = _json(folder / "config_forward.json")
    rows = [row for row in _rows(config) if _accepts(source, row)]
    if not rows:
        raise TaskError("its config_forward.json has no row of arguments that its Model and get_inputs both take")
    merged = [{**init, **inputs} for init, inputs in rows]
    body = renamed(source, {"get_inputs": "make_inputs"})
    chosen = spread(scaled(merged, product, scale), product)
    table = tabulate(chosen, body)
    text = body.rstrip() + _TAIL.format(
        table=table.text, inputs=_keywords(table, source, rows), init=_positional(table, source, merged)
    )
    path = folder / "func_forward.py"
    if len(merged) == 1:
        return derived_task(name, path, level, text, scale)
    return Task(name=name, source=text, path=str(path), cases=table.cases, category=level)


def _marked(path: Path) -> list[str]:
    """Upstream's computed filters that say no."""
    return [key for key in _MEASURED if path.is_file() and _json(path).get(key) is True]


def _json(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(read(path))
    except json.JSONDecodeError as error:
        raise TaskError(f"{path.name}: line {error.lineno}: {error.msg}") from error
    if not isinstance(found, dict):
        raise TaskError(f"{path.name} holds no object")
    return found


def _rows(config: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """(arguments of Model, of get_inputs) of every case, each once; shared ones win, as upstream."""
    rows: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = []
    for kind in ("single", "multi"):
        parts = [config.get(f"{kind}_{what}_configs") or [{}] for what in ("init", "input", "shared")]
        if not all(isinstance(part, list) and all(isinstance(p, dict) for p in part) for part in parts):
            raise TaskError(f"its {kind}_* configs are no lists of mappings")
        if kind == "multi" and parts == [[{}]] * 3:
            continue  # upstream's way of saying that there are none
        for init, inputs, shared in itertools.product(*parts):
            row = ({**init, **shared}, {**inputs, **shared})
            if any(row[0][k] != row[1][k] for k in row[0].keys() & row[1].keys()):
                raise TaskError("Model and get_inputs get different values of one argument")
            if row not in rows:
                rows.append(row)
    return rows


def _accepts(source: str, row: tuple[Mapping[str, Any], Mapping[str, Any]]) -> bool:
    """Whether constructor and maker have such arguments, and no others that must be given."""
    signatures = (_constructor(source), _parameters(defined(source)["get_inputs"]))
    return all(
        given.keys() <= wanted.keys() and {k for k, default in wanted.items() if default is None} <= given.keys()
        for given, wanted in zip(row, signatures, strict=True)
    )


def _constructor(source: str) -> Mapping[str, str | None]:
    """Argument -> default's text of ``Model.__init__``, without ``self``."""
    model = defined(source)["Model"]
    assert isinstance(model, ast.ClassDef)
    makers = [s for s in model.body if isinstance(s, ast.FunctionDef) and s.name == "__init__"]
    found = dict(_parameters(makers[0])) if makers else {}
    return dict(list(found.items())[1:])


def _parameters(function: ast.stmt) -> Mapping[str, str | None]:
    """Argument -> its default's text, None where there is none."""
    if not isinstance(function, ast.FunctionDef):
        raise TaskError("its get_inputs is no function")
    given = [*function.args.posonlyargs, *function.args.args]
    defaults: list[ast.expr | None] = [*[None] * (len(given) - len(function.args.defaults)), *function.args.defaults]
    found = {a.arg: None if d is None else ast.unparse(d) for a, d in zip(given, defaults, strict=True)}
    for argument, default in zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True):
        found[argument.arg] = None if default is None else ast.unparse(default)
    return found


def _keywords(table: Table, source: str, rows: list[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> str:
    """The current case's arguments of get_inputs."""
    given = {key for _, inputs in rows for key in inputs}
    parameters = _parameters(defined(source)["get_inputs"])
    return ", ".join(f"{k}={_value(table, k, default)}" for k, default in parameters.items() if k in given)


def _positional(table: Table, source: str, rows: list[dict[str, Any]]) -> str:
    """The current case's arguments of Model, up to the last that any case gives."""
    parameters = list(_constructor(source).items())
    last = max([i for i, (k, _) in enumerate(parameters) if any(k in row for row in rows)], default=-1)
    return ", ".join(_value(table, k, default) for k, default in parameters[: last + 1])


def _value(table: Table, key: str, default: str | None) -> str:
    """One argument: its module-level name, or its field of the current variant, or what it is when not given."""
    if key in table.names:
        return table.names[key]
    if not table.variants:
        return default or "None"
    return f'VARIANTS[variant].get("{key}", {default})' if default is not None else f'VARIANTS[variant]["{key}"]'

"""GPU MODE's problems: ``problems/<group>/<entry>/task.yml`` beside ``reference.py``, from a clone of reference-kernels.

Upstream, ``custom_kernel(data)`` is checked against ``ref_kernel(data)`` for ``data = generate_input(**case)``, each ``tests``
and ``benchmarks`` entry a case. The synthesised ``Model.forward(data)`` is ``ref_kernel(data)``; ``get_inputs()`` gives
``[data]``, with the ``seed`` taken from torch's, so that each draw differs as the judge demands.

Changed against upstream: device literals follow the judge's device, the determinism wrappers around a reference do nothing
(they would slow the baseline), and comparisons are our own judge's, not ``check_implementation``'s.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from kernelwright.tasks.errors import TaskError
from kernelwright.tasks.records import Task, Use
from kernelwright.tasks.schema import read_yaml
from kernelwright.tasks.suites.plain import Entry as Named
from kernelwright.tasks.suites.plain import collect
from kernelwright.tasks.suites.solution import Adopted
from kernelwright.tasks.suites.submission import adopted, is_submission, problem_of
from kernelwright.tasks.suites.suite import Loaded, Selection
from kernelwright.tasks.suites.table import MOST, Entry, Table, evenly, product, scaled, spread, tabulate
from kernelwright.tasks.suites.text import (
    defined,
    devices_as,
    gradients,
    imported,
    imports,
    missing_imports,
    reads,
    seeding,
    without,
)
from kernelwright.tasks.suites.upstream import Rule, Tolerance

_CHECKS = ("check_implementation",)
_WRAPPERS = ("DeterministicContext", "DisableCuDNNTF32")
_NEEDED = ("ref_kernel", "generate_input")
_COMPARISONS = ("make_match_reference", "match_reference", "verbose_allclose", "verbose_allequal")
_RULE = Rule(
    stated="reference-kernels f83cb92: the problem's check_implementation",
    tolerance={},
    seed=42,
    reseeded=True,
    listed=True,
    first="candidate",
    cloned=True,
    nan_equal=True,
    omits=("its own seeds, and cases beyond those of the task", "its speed: a time to rank by, no speedup"),
)
_SEEDS = 65521
"""Seeds are below this, as upstream's are: a problem adds its seed to float32 values, where a large one would swallow them."""
_HEAD = """import contextlib
import torch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
"""
_TAIL = '''
class Model(torch.nn.Module):
    """Upstream's ``ref_kernel``."""

    def forward(self, data):
        return ref_kernel(data)


def get_inputs():
    global DEVICE
    DEVICE = torch.empty(0).device.type
{seeds}    return [generate_input({arguments})]


def get_init_inputs():
    return []
'''


class GpuMode:
    """GPU MODE reference-kernels."""

    name = "gpumode"
    summary = "GPU MODE competition problems (gpu-mode/reference-kernels): problems/<group>/<entry>/task.yml"

    def load(self, root: Path, select: Selection) -> Loaded:
        """Every selected problem; those that cannot be judged by comparing with a reference are left out, with the reason.

        Raises:
            TaskError: there are no problems under ``root``.
        """
        base = root / "problems" if (root / "problems").is_dir() else root
        files = sorted(base.glob("*/*/task.yml"))
        if not files:
            raise TaskError(f"{root} holds no */*/task.yml", "give the root of a clone of gpu-mode/reference-kernels")
        entries: list[Named] = []
        for file in files:
            group, entry = file.parent.parent.name, file.parent.name
            name = f"{self.name}/{group}/{entry}"
            if not select.wants(group, name):
                continue
            entries.append((name, partial(_task, name, group, file, select.scale)))
        return collect(entries, ["outputs are compared with ref_kernel's by our judge; upstream's tolerances are not used"])

    def upstream(self, task: Task, root: Path) -> Rule:
        """``check_implementation`` where it is one comparison with literal tolerances.

        Raises:
            TaskError: it does more than that.
        """
        path = root / task.path
        atol, rtol = _allowed(defined(_read(path)).get("check_implementation"))
        evaluation = next((e for e in (path.parent / "eval.py", path.parent.parent / "eval.py") if e.is_file()), None)
        cloned = evaluation is None or "_clone_data" in _read(evaluation)
        return replace(_RULE, tolerance={"": Tolerance(atol, rtol)}, cloned=cloned)

    def adopt(self, path: Path, text: str, tasks: Sequence[Task], root: Path) -> Adopted | None:
        """A submission as a kernel; None where the file is none.

        Raises:
            TaskError: it is for no task that was selected, or cannot be judged here.
        """
        if path.suffix != ".py" or not is_submission(text):
            return None
        task = problem_of(path, text, tasks)
        folder = (root / task.path).parent
        data = read_yaml(folder / "task.yml")
        sources = _helpers(data) if isinstance(data, Mapping) else []
        helpers = {source: _used(_read(folder / source), text) for source in sources if (folder / source).is_file()}
        return adopted(task, text, helpers)


def _allowed(check: ast.stmt | None) -> tuple[float, float]:
    """atol and rtol of a comparison; both 0 for an exact one."""
    own = "upstream compares by code of its own"
    if check is None:
        raise TaskError("its reference.py defines no check_implementation")
    calls = [node for node in ast.walk(check) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    compares = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id in _COMPARISONS]
    if len(compares) != 1 or any(isinstance(node, (ast.For, ast.While)) for node in ast.walk(check)):
        raise TaskError(own)
    limits = {"atol": 1e-8, "rtol": 1e-5}
    for keyword in compares[0].keywords:
        if keyword.arg in limits and isinstance(keyword.value, ast.Constant) and isinstance(keyword.value.value, float):
            limits[keyword.arg] = keyword.value.value
        elif keyword.arg in limits:
            raise TaskError(own)
    exact = isinstance(compares[0].func, ast.Name) and compares[0].func.id == "verbose_allequal"
    return (0.0, 0.0) if exact else (limits["atol"], limits["rtol"])


def _task(name: str, group: str, file: Path, scale: float | None) -> Task:
    data = read_yaml(file)
    if not isinstance(data, Mapping):
        raise TaskError("its task.yml is no mapping")
    if data.get("multi_gpu"):
        raise TaskError("it needs several GPUs")
    reference = _read(file.parent / "reference.py")
    modules = {source: _read(file.parent / source) for source in _helpers(data)}
    body = _body(reference, modules)
    table = tabulate(_entries(data, scale), body)
    return Task(
        name=name,
        source=_source(body, table, _takes_seed(body)),
        path=str(file.parent / "reference.py"),
        cases=table.cases,
        category=group,
        summary=_first_sentence(data.get("description")),
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise TaskError(f"{path.name} is not UTF-8 text") from error


def _helpers(data: Mapping[str, Any]) -> list[str]:
    """Paths, relative to the problem, of the modules that its reference may import: ``task.py`` and ``utils.py``."""
    files = data.get("files")
    rows = [row for row in files if isinstance(row, Mapping)] if isinstance(files, list) else []
    return [str(row["source"]) for row in rows if row.get("name") in ("task.py", "utils.py") and "source" in row]


def _body(reference: str, modules: Mapping[str, str]) -> str:
    """The helpers and the reference in one text, without what only upstream's checks need."""
    names = defined(reference)
    missing = [n for n in _NEEDED if n not in names]
    if missing:
        raise TaskError(f"its reference.py defines no {' or '.join(missing)}")
    check = names.get("check_implementation")
    if check is not None and not reads(check, "ref_kernel"):
        raise TaskError("upstream checks a property of the output, not that it equals ref_kernel's")
    absent = [name for name in missing_imports(reference) if name not in ("task", "utils")]
    if absent:
        raise TaskError(f"it needs {', '.join(absent)}")
    if "torch.distributed" in reference:
        raise TaskError("it needs several GPUs")
    parts = [_used(text, reference) for path, text in modules.items()]
    local = imports({"task", "utils", "__future__"})
    parts.append(without(reference, lambda s: local(s) or _defines(s, _CHECKS)))
    future = "from __future__ import annotations\n" if "from __future__ import annotations" in reference else ""
    return future + _HEAD + "\n" + devices_as("\n".join(filter(None, parts)), "DEVICE")


def _used(module: str, reference: str) -> str:
    """What ``reference`` imports of a helper module, with what that needs in turn; contexts become ones that do nothing."""
    names = defined(module)
    wanted = {n for n in _imported_names(reference) if n in names}
    pending = [*wanted]
    while pending:
        node = names[pending.pop()]
        if _defines(node, _WRAPPERS) or _is_check(node):
            continue
        new = {n for n in names if n not in wanted and reads(node, n)}
        wanted |= new
        pending += new
    empty = [f"{n} = contextlib.nullcontext\n" for n in _WRAPPERS if n in wanted]
    keep = {n for n in wanted if n not in _WRAPPERS and not _is_check(names[n])}
    if not keep:
        return "".join(empty)
    kept = without(module, lambda s: not (imported(s) - {"__future__"}) and not _defines(s, keep))
    return kept + "".join(empty)


def _imported_names(reference: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(reference)):
        if isinstance(node, ast.ImportFrom) and node.module in ("task", "utils"):
            yield from (alias.name for alias in node.names)


def _is_check(node: ast.stmt) -> bool:
    """A helper that compares outputs: only ``check_implementation`` calls it."""
    return isinstance(node, ast.FunctionDef) and ("match_reference" in node.name or node.name.startswith("verbose_all"))


def _defines(statement: ast.stmt, names: Any) -> bool:
    """Whether a statement binds one of ``names``."""
    if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
        return statement.name in names
    return isinstance(statement, ast.Assign) and any(isinstance(t, ast.Name) and t.id in names for t in statement.targets)


def _entries(data: Mapping[str, Any], scale: float | None) -> list[Entry]:
    """At most four tests to check, the last of at least three held out; at most three benchmarks to time."""
    tests, benchmarks = _rows(data, "tests"), _rows(data, "benchmarks")
    if not tests and not benchmarks:
        raise TaskError("its task.yml lists neither tests nor benchmarks")
    if not tests or not benchmarks:
        return spread(scaled(tests or benchmarks, product, scale), product)
    fit = scaled([*tests, *benchmarks], product, scale)
    tests = [row for row in tests if row in fit] or [min(fit, key=product)]
    timed = [row for row in benchmarks if row in fit] or [max(fit, key=product)]
    hidden = tests[-1:] if len(tests) > 2 else []
    checked = evenly(sorted(tests[: len(tests) - len(hidden)], key=product), MOST[Use.CORRECTNESS])
    times = evenly(sorted(timed, key=product), MOST[Use.TIMING])
    uses = ((Use.CORRECTNESS, checked), (Use.TIMING, times), (Use.HELD_OUT, hidden))
    return [Entry(use, row) for use, rows in uses for row in rows]


def _rows(data: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    rows = data.get(key) or []
    if not isinstance(rows, list) or any(not isinstance(row, Mapping) for row in rows):
        raise TaskError(f"its task.yml: {key} is no list of mappings")
    unseeded = [{str(k): v for k, v in row.items() if k != "seed"} for row in rows]
    return [row for place, row in enumerate(unseeded) if row not in unseeded[:place]]


def _takes_seed(body: str) -> bool:
    function = defined(body)["generate_input"]
    assert isinstance(function, ast.FunctionDef)
    arguments = function.args
    return arguments.kwarg is not None or any(a.arg == "seed" for a in [*arguments.args, *arguments.kwonlyargs])


def _source(body: str, table: Table, seed: bool) -> str:
    arguments = [part for part in (table.keywords(), f"seed=torch.initial_seed() % {_SEEDS}" if seed else "") if part]
    seeds = "".join(f"    {line}\n" for line in seeding(body))
    tail = _TAIL.format(arguments=", ".join(arguments), seeds=seeds)
    return f"{body}{gradients(body, 'ref_kernel')}\n\n# The shape, replaced case by case.\n{table.text}\n\n{tail}"


def _first_sentence(description: Any) -> str:
    text = description if isinstance(description, str) else ""
    first, stop, _ = " ".join(text.strip().partition("\n\n")[0].split()).partition(". ")
    return first + stop.strip()

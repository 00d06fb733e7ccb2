"""flashinfer-trace: ``definitions/<op>/<definition>.json`` with workloads in ``workloads/<op>/<definition>.jsonl``.

Older sets keep workloads under ``traces/workloads`` and end their names in ``.workload.jsonl``. A line holds the workload
itself, or a trace with it under ``workload``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from kernelwright.tasks.errors import TaskError
from kernelwright.tasks.records import Task
from kernelwright.tasks.suites.definition import Definition, read_definition
from kernelwright.tasks.suites.draws import probabilities
from kernelwright.tasks.suites.plain import Entry, collect
from kernelwright.tasks.suites.solution import Adopted, chosen
from kernelwright.tasks.suites.solution_json import kernel_of, read_solution
from kernelwright.tasks.suites.suite import Loaded, Selection
from kernelwright.tasks.suites.synthesis import to_task
from kernelwright.tasks.suites.upstream import Clock, Rule, Tolerance

_PLACES = ("workloads", "traces/workloads")
_SPECIAL = ("dsa_sparse_attention", "dsa_topk_indexer", "moe_fp8_block_scale")
"""Parts of the names of definitions that upstream judges by evaluators of their own."""
_RULE = Rule(
    stated="flashinfer-bench 40e6ca7: bench/evaluators/default.py at the defaults of bench/config.py",
    tolerance={"": Tolerance(1e-2, 1e-2)},
    trials=3,
    listed=True,
    either=True,
    finite=True,
    same_dtype=True,
    clock=Clock(warmups=10, repeats=50, statistic="median", flush_bytes=256 << 20),
    omits=("workloads beyond the cases of the task", "CUPTI, which it times with: events here"),
)


class FlashinferTrace:
    """A flashinfer-trace data set."""

    name = "flashinfer-trace"
    summary = "flashinfer-trace: definitions/<op>/*.json with workloads/<op>/*.jsonl, captured from serving LLMs"

    def load(self, root: Path, select: Selection) -> Loaded:
        """Every selected definition that has a usable workload; the others are left out, with the reason.

        Raises:
            TaskError: there are no definitions under ``root``.
        """
        files = sorted((root / "definitions").rglob("*.json"))
        if not files:
            raise TaskError(f"{root} holds no definitions/**/*.json", "give the root of a flashinfer-trace data set")
        entries: list[Entry] = []
        for file in files:
            folder = file.parent.relative_to(root / "definitions").as_posix()
            level = folder if folder != "." else _op(file)
            name = f"{self.name}/{level}/{file.stem}"
            if not select.wants(level, name):
                continue
            entries.append((name, partial(_task, name, root, file, select.scale)))
        return collect(entries, ["a kernel returns its outputs: destination-passing style is for solutions"])

    def upstream(self, task: Task, root: Path) -> Rule:
        """The default evaluator of flashinfer-bench.

        Raises:
            TaskError: the definition has an evaluator of its own.
        """
        if task.category == "sampling" or any(part in task.name for part in _SPECIAL):
            raise TaskError("upstream judges this definition by an evaluator of its own")
        return _RULE

    def adopt(self, path: Path, text: str, tasks: Sequence[Task], root: Path) -> Adopted | None:
        """A solution's JSON as a kernel; None where the file is something else.

        Raises:
            TaskError: it is for no task that was selected, or cannot be judged here.
        """
        solution = read_solution(text) if path.suffix == ".json" else None
        if solution is None:
            return None
        found = [task for task in tasks if definition_of(root / task.path).name == solution.definition]
        task = chosen(found, path, f"its definition {solution.definition}")
        return Adopted(task.name, kernel_of(solution, definition_of(root / task.path)))


@cache
def definition_of(path: Path) -> Definition:
    """The definition in a file.

    Raises:
        TaskError: it holds none.
    """
    return read_definition(read_json(path))


def _op(file: Path) -> str:
    """The level of a definition in no folder of its own."""
    try:
        data = read_json(file)
    except (TaskError, OSError):
        return "other"  # the entry's own loading says what is wrong
    op = data.get("op_type") if isinstance(data, dict) else None
    return op if isinstance(op, str) and op else "other"


def _task(name: str, root: Path, file: Path, scale: float | None) -> Task:
    definition = read_definition(read_json(file))
    lines = [line for path in _workload_files(root, file.stem) for line in read_json_lines(path)]
    workloads = [line["workload"] if isinstance(line, dict) and "workload" in line else line for line in lines]
    draw = probabilities if definition.op == "sampling" else None
    return to_task(name, file, definition, workloads, draw, (root, file.parent), scale)


def _workload_files(root: Path, stem: str) -> list[Path]:
    """The first place that has any, sorted."""
    for place in _PLACES:
        found = [p for p in (root / place).rglob("*.jsonl") if p.name in (f"{stem}.jsonl", f"{stem}.workload.jsonl")]
        if found:
            return sorted(found)
    return []


def read_json(path: Path) -> Any:
    """A JSON file's data.

    Raises:
        TaskError: it is no JSON; gives the line.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise TaskError(f"{path.name} is no JSON: {error}") from error


def read_json_lines(path: Path) -> list[Any]:
    """The data of a JSON Lines file; empty lines count for nothing.

    Raises:
        TaskError: a line is no JSON; gives its number.
    """
    found = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise TaskError(f"{path.name} is not UTF-8 text") from error
    for number, line in enumerate(lines, 1):
        try:
            found += [json.loads(line)] if line.strip() else []
        except json.JSONDecodeError as error:
            raise TaskError(f"{path.name} line {number} is no JSON: {error.msg}") from error
    return found

"""SOL-ExecBench: any folder with ``definition.json`` and ``workload.jsonl``, at any depth.

Beyond flashinfer-trace's definitions: axes given by expressions, inputs that a function of the reference makes, and a
tolerance a workload. Our judge keeps its own tolerance, which comes from the reference's own error in float64; what
upstream would allow stands in the task's summary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from kernelwright.tasks.errors import TaskError
from kernelwright.tasks.records import Task
from kernelwright.tasks.suites.definition import read_definition
from kernelwright.tasks.suites.draws import in_domain
from kernelwright.tasks.suites.flashinfer_trace import definition_of, read_json, read_json_lines
from kernelwright.tasks.suites.plain import Entry, collect
from kernelwright.tasks.suites.solution import Adopted, chosen
from kernelwright.tasks.suites.solution_json import kernel_of, read_solution
from kernelwright.tasks.suites.suite import Loaded, Selection
from kernelwright.tasks.suites.synthesis import to_task
from kernelwright.tasks.suites.upstream import Clock, Rule, Tolerance

_ATOL, _RTOL, _SHARE = 1e-2, 1e-2, 0.99
"""Upstream's defaults: absolute and relative tolerance, and the share of elements that must be within."""

_RULE = Rule(
    stated="SOL-ExecBench 8d2237d: core/bench/correctness.py as driver/templates/eval_driver.py calls it",
    tolerance={},
    trials=10,
    seed=200,
    listed=True,
    not_zero=True,
    finite=True,
    same_dtype=True,
    clock=Clock(warmups=10, repeats=50, statistic="median", flush_bytes=256 << 20),
    omits=("its checks for patches, threads and lazy outputs: what passes here may fail there", "workloads beyond the cases"),
)


class SolExecBench:
    """SOL-ExecBench problems."""

    name = "sol-execbench"
    summary = "SOL-ExecBench: folders with definition.json and workload.jsonl"

    def load(self, root: Path, select: Selection) -> Loaded:
        """Every selected folder that has a usable workload; the others are left out, with the reason.

        Raises:
            TaskError: there is no such folder at or under ``root``.
        """
        folders = sorted(f.parent for f in root.rglob("definition.json") if (f.parent / "workload.jsonl").is_file())
        if not folders:
            raise TaskError(
                f"{root} holds no folder with definition.json and workload.jsonl",
                "give a folder of SOL-ExecBench problems",
            )
        entries: list[Entry] = []
        seen: set[str] = set()
        for folder in folders:
            inner = folder.relative_to(root).parts
            level = inner[-2] if len(inner) > 1 else folder.resolve().parent.name
            name = f"{self.name}/{level}/{folder.resolve().name}"
            if name in seen:
                name = f"{self.name}/{'/'.join(inner)}"
            seen.add(name)
            if not select.wants(level, name):
                continue
            entries.append((name, partial(_task, name, root, folder, select.scale)))
        return collect(entries, ["upstream's tolerances are in the summaries; our judge keeps its own"])

    def upstream(self, task: Task, root: Path) -> Rule:
        """Its correctness rounds, with the tolerance of the workloads.

        Raises:
            TaskError: the workloads differ in their tolerance, or allow infinities.
        """
        workloads = read_json_lines(root / Path(task.path).parent / "workload.jsonl")
        given = [w.get("tolerance") or {} for w in workloads if isinstance(w, Mapping)]
        if any(row != given[0] for row in given[1:]) or not all(isinstance(row, Mapping) for row in given):
            raise TaskError("its workloads differ in what upstream allows")
        if given[0].get("allow_negative_inf"):
            raise TaskError("upstream allows negative infinities in its outputs")
        atol, rtol = float(given[0].get("max_atol", _ATOL)), float(given[0].get("max_rtol", _RTOL))
        share, cap = float(given[0].get("required_matched_ratio", _SHARE)), given[0].get("max_error_cap")
        return replace(_RULE, tolerance={"": Tolerance(atol, rtol)}, share=share, cap=None if cap is None else float(cap))

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


def _task(name: str, root: Path, folder: Path, scale: float | None) -> Task:
    definition = read_definition(read_json(folder / "definition.json"))
    workloads = read_json_lines(folder / "workload.jsonl")
    task = to_task(name, folder / "definition.json", definition, workloads, in_domain, (folder, root), scale)
    return replace(task, summary=f"{task.summary} {_tolerance(workloads)}".strip())


def _tolerance(workloads: Sequence[Any]) -> str:
    """The tolerances that upstream allows, widest of each kind over the workloads."""
    given = [w["tolerance"] for w in workloads if isinstance(w, Mapping) and isinstance(w.get("tolerance"), Mapping)]
    given += [{}] if len(given) < len(workloads) else []

    def of(key: str, default: float) -> list[float]:
        values = [row.get(key, default) for row in given]
        return [float(v) for v in values if isinstance(v, (int, float))] or [default]

    atol, rtol = max(of("max_atol", _ATOL)), max(of("max_rtol", _RTOL))
    return f"(upstream allows atol {atol:g}, rtol {rtol:g} in {min(of('required_matched_ratio', _SHARE)):g} of the elements)"

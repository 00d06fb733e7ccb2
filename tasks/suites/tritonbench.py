"""TritonBench: ``data/TritonBench_T_v1/<op>.py``, a torch function and a test of it, parted by a line of 146 ``#``.

The function is the reference; its inputs are those of the test's calls (to check) and those of
``performance_metrics/perf_T/golden_metrics/<op>_perf.py`` (to check, to time, to hold out). TritonBench-G has Triton code where
T has a torch function: there is no reference in it, and its entries are left out.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from kernelwright.tasks.errors import TaskError
from kernelwright.tasks.records import ShapeCase, Task, Use
from kernelwright.tasks.suites.lifted import reference
from kernelwright.tasks.suites.lifting import Benchmark, Operator, Test
from kernelwright.tasks.suites.plain import Entry, check, collect, read
from kernelwright.tasks.suites.suite import Loaded, Selection
from kernelwright.tasks.suites.table import Entry as Row
from kernelwright.tasks.suites.table import Table, scaled, spread, tabulate
from kernelwright.tasks.suites.text import defined

_SEPARATOR = "#" * 146
_TESTS = 3
"""Calls of the test that become cases: the last ones, for the first is mostly the plainest."""
_RANDOM = frozenset(
    {"dropout", "rand", "randn", "randint", "bernoulli", "multinomial", "Binomial", "fractional_max_pool2d", "Dropout"}
)
_LEFT_OUT = {
    "Adam": "it returns an optimizer: no tensors to compare",
    "SGD": "it takes a module and a loss: no tensors to compute from",
    "autocast": "it returns a context: no tensors to compare",
    "quantize_dynamic": "it takes and returns a module",
    "eig": "its output is unique but for order and phase, which another right kernel need not share",
    "svd": "its output is unique but for signs, which another right kernel need not share",
    "qr": "its output is unique but for signs, which another right kernel need not share",
    "ldl_factor": "its output is as a library packs the factors, which another right kernel need not share",
    "solve_symmetric_ldl": "it multiplies by pivots as a library numbers them, which is no solution of anything",
    "ones_like": "its output is a constant",
    "logspace": "its benchmark gives it no tensors: the output is known beforehand",
    "tril_mm_and_scale": "its benchmark reads a name that nothing defines (p)",
}
_NO_CASE = {"mul_sub": (4,)}
"""Calls of the test that give numbers where tensors are expected: there is no tensor to compare."""
_TRITON_ONLY = "it is Triton code and has no torch reference: a kernel could only be compared with another kernel"
_NOTES = (
    "upstream compares what the tests print, and all but one print nothing: every kernel that runs is right there",
    "a reference takes all arguments of upstream's function, in its order, without out=, layout=, device= and the like",
    "literal inputs of the tests are drawn anew, up to a tenth smaller, so that outputs cannot be known beforehand",
)


class TritonBench:
    """TritonBench-T's functions; those of TritonBench-G are told as left out."""

    name = "tritonbench"
    summary = "TritonBench-T: data/TritonBench_T_v1 with performance_metrics/perf_T; G has no references"

    def load(self, root: Path, select: Selection) -> Loaded:
        """Every selected function of T that a reference can be made of.

        Raises:
            TaskError: there is no TritonBench-T under ``root``.
        """
        if not root.is_dir():
            raise TaskError(f"there is no folder {str(root)!r}", "give the root of a clone of TritonBench with --path")
        files = sorted((root / "data" / "TritonBench_T_v1").glob("*.py"))
        if not files:
            raise TaskError(
                f"{root} holds no data/TritonBench_T_v1/<op>.py",
                "give the root of a clone of TritonBench (thunlp's, version 1; meta-pytorch's tritonbench is another one)",
            )
        others = sorted((root / "data" / "TritonBench_G_v1").glob("*.py"))
        return collect([*self._functions(root, files, select), *self._kernels(others, select)], _NOTES)

    def _functions(self, root: Path, files: Sequence[Path], select: Selection) -> Iterator[Entry]:
        for path in files:
            name = f"{self.name}/T/{path.stem}"
            benchmark = root / "performance_metrics" / "perf_T" / "golden_metrics" / f"{path.stem}_perf.py"
            if select.wants("T", name):
                yield name, partial(_task, name, path, benchmark, select.scale)

    def _kernels(self, files: Sequence[Path], select: Selection) -> Iterator[Entry]:
        for path in files:
            name = f"{self.name}/G/{path.stem}"
            if select.wants("G", name):
                yield name, _refused


def _refused() -> Task:
    raise TaskError(_TRITON_ONLY)


def _task(name: str, path: Path, benchmark: Path, scale: float | None) -> Task:
    if path.stem in _LEFT_OUT:
        raise TaskError(_LEFT_OUT[path.stem])
    parts = read(path).split(_SEPARATOR)
    if len(parts) != 2:
        raise TaskError(f"it has {len(parts) - 1} lines of {len(_SEPARATOR)} # (expected one, between function and test)")
    function, test = parts
    if path.stem not in defined(function):
        raise TaskError(f"it does not define {path.stem}")
    random = sorted(_attributes(function) & _RANDOM)
    if random:
        raise TaskError(f"its output is random ({', '.join(random)}): two right kernels cannot be compared")
    operator = Operator.read(path.stem, function)
    tests = Test.read(operator, test, _NO_CASE.get(path.stem, ()))
    sizes = Benchmark.read(operator, read(benchmark))
    table = _table(tests, sizes, function, scale)
    source = reference(operator, tests, sizes, table)
    check(source, ("Model", "get_inputs", "get_init_inputs"))
    cases = tuple(_case(case, table, tests, sizes.dtype) for case in table.cases)
    return Task(name=name, source=source, path=str(path), cases=cases, category="T")


def _attributes(source: str) -> set[str]:
    return {node.attr for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)}


def _table(tests: Test, sizes: Benchmark, function: str, scale: float | None) -> Table:
    """The benchmark's smallest size and the test's calls to check, then its sizes to time and to hold out."""
    rows = scaled(
        [{"test_call": 0, "benchmark_size": size} for size in sizes.values],
        lambda row: sizes.work(row["benchmark_size"]),
        scale,
    )
    found = spread(rows, lambda row: sizes.work(row["benchmark_size"]))
    smallest = next(row for row in found if row.use is Use.CORRECTNESS)
    calls = [Row(Use.CORRECTNESS, {**smallest.values, "test_call": call}) for call in list(tests.calls)[-_TESTS:]]
    rest = [row for row in found if row.use is not Use.CORRECTNESS]
    return tabulate([smallest, *calls, *rest], f"{function}\n{tests.text}\n{sizes.text}")


def _case(case: ShapeCase, table: Table, tests: Test, dtype: str) -> ShapeCase:
    """A case with a name that says where its inputs come from, and with the benchmark's dtype if they come from there."""
    call = case.sizes[table.names["test_call"]]
    if call:
        return replace(case, name=f"test call {call}", device="cuda" if tests.calls[call] else None)
    return replace(case, name=f"size={case.sizes[table.names['benchmark_size']]}", dtypes=(dtype,))

"""MSKernelBench: ``origin/{fp32,bf16}/<operator>.cu``, CUDA programs of 50 operators in two dtypes.

A reference is our own (:mod:`kernelwright.tasks.suites.ms_operators`), written from what the program computes; none of
upstream's text is in a task. The shapes are those that ``load_test_case`` of ``test_<operator>_bf16.cu`` lists, also for fp32,
which comes without test programs.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from kernelwright.tasks.errors import TaskError
from kernelwright.tasks.records import Task
from kernelwright.tasks.suites.cpp_cases import listed_cases
from kernelwright.tasks.suites.ms_operators import OPERATORS
from kernelwright.tasks.suites.ms_sparse import Operator
from kernelwright.tasks.suites.plain import Entry, collect, natural, read
from kernelwright.tasks.suites.suite import Loaded, Selection
from kernelwright.tasks.suites.table import Table, product, scaled, spread, tabulate

_DTYPES = {"fp32": "float32", "bf16": "bfloat16"}
_MAKERS = {
    "wide": '''
def wide(x):
    """In float32 at least, as the program computes."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
''',
    "uniform": """
def uniform(*shape, bound=1.0):
    return (torch.rand(shape) * 2 - 1) * bound
""",
    "shares": """
def shares(count):
    found = torch.rand(count)
    return found / found.sum()
""",
    "interval": """
def interval():
    return sorted((torch.rand(2) * 2000 - 1000).tolist())
""",
}
_SOURCE = '''import torch
import torch.nn.functional as F

{helpers}

class Model(torch.nn.Module):
    """MSKernelBench's {name}."""

    def forward(self, {arguments}):
{body}


# The case, replaced for each.
{table}


def get_inputs():
{draw}


def get_init_inputs():
    return []
'''
_NOTES = (
    "references are ours, from what the programs compute; upstream compares with the program itself, within 1e-3 to 1e-1",
    "a kernel returns its outputs, in the dtype of its inputs; upstream's write to pointers, and sorting sorts in place",
    "fp32 is judged at the shapes of the bf16 test programs: upstream publishes none for fp32",
    "constants (alpha, epsilon, beta, base, the stencils' r) are those that the test programs pass, and part of a reference",
)


class MsKernelBench:
    """MSKernelBench's operators, each in two dtypes."""

    name = "mskernelbench"
    summary = "MSKernelBench: origin/fp32 and origin/bf16, CUDA programs; references of our own"

    def load(self, root: Path, select: Selection) -> Loaded:
        """Every selected operator that there is a reference and a list of shapes for.

        Raises:
            TaskError: there are no programs under ``root``.
        """
        if not root.is_dir():
            raise TaskError(f"there is no folder {str(root)!r}", "give the root of a clone of MSKernelBench with --path")
        programs = [(d, p) for d in _DTYPES for p in sorted((root / "origin" / d).glob("*.cu"), key=lambda p: natural(p.name))]
        programs = [(dtype, path) for dtype, path in programs if not path.name.startswith("test_")]
        if not programs:
            raise TaskError(
                f"{root} holds no origin/fp32/*.cu or origin/bf16/*.cu",
                "give the root of a clone of MSKernelBenchDemo, as of March 2026",
            )
        return collect(self._entries(root, programs, select), _NOTES)

    def _entries(self, root: Path, programs: list[tuple[str, Path]], select: Selection) -> Iterator[Entry]:
        for dtype, path in programs:
            operator = path.stem.removesuffix("_bf16")
            name = f"{self.name}/{dtype}/{operator}"
            if select.wants(dtype, name):
                yield name, partial(_task, name, path, root / "origin" / "bf16" / f"test_{operator}_bf16.cu", select.scale)


def _task(name: str, path: Path, program: Path, scale: float | None) -> Task:
    _, dtype, called = name.split("/")
    operator = OPERATORS.get(called)
    if operator is None:
        raise TaskError("there is no torch reference of ours for what it computes")
    if not re.search(rf'extern\s+"C"\s+void\s+{re.escape(path.stem)}\s*\(', read(path)):
        raise TaskError(f"{path.name} has no function {path.stem} (another version?)")
    rows = []
    for row in listed_cases(read(program)):
        missing = [size for size in operator.sizes if size not in row]
        if missing:
            raise TaskError(f"the cases of {program.name} have no {' or '.join(missing)}")
        rows.append({size: row[size] for size in operator.sizes})
    head = _helpers(operator)
    table = tabulate(spread(scaled(rows, product, scale), product), f"import torch\nimport torch.nn.functional as F\n{head}")
    return Task(
        name=name,
        source=_source(called, operator, table, head),
        path=str(path),
        cases=tuple(replace(case, dtypes=(_DTYPES[dtype],)) for case in table.cases),
        category=operator.category,
        family=operator.category,
        scenario=operator.scenario,
    )


def _helpers(operator: Operator) -> str:
    text = operator.body + operator.draw
    return "\n".join(maker for name, maker in _MAKERS.items() if f"{name}(" in text)


def _source(name: str, operator: Operator, table: Table, helpers: str) -> str:
    draw = operator.draw
    for size, given in table.names.items():
        draw = re.sub(rf"\b{size}\b", given, draw) if size != given else draw
    return _SOURCE.format(
        helpers=helpers,
        name=name,
        arguments=operator.arguments,
        body=textwrap.indent(operator.body, " " * 8),
        table=table.text,
        draw=textwrap.indent(draw, " " * 4),
    )

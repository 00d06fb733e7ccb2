"""Tasks of definitions and their workloads: the text around a ``run`` that makes it a reference in our convention.

Solutions upstream take destination tensors behind the inputs; a kernel here returns what ``run`` returns.
"""

from __future__ import annotations

import ast
import collections
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kernelwright.tasks.errors import TaskError
from kernelwright.tasks.records import Task
from kernelwright.tasks.suites.definition import Definition, expressions
from kernelwright.tasks.suites.draws import Draw, plain
from kernelwright.tasks.suites.table import Table, free_name, literal, module_names, scaled, spread, tabulate
from kernelwright.tasks.suites.text import all_imports, devices_as, gradients, imports, seeding, without
from kernelwright.tasks.suites.workload import key_of, read_workload

_STORED = '''
STORED = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
          "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
          "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2}


def stored(file, key):
    """A tensor of a safetensors file, which lies where the definition's own folder says."""
    import json
    import pathlib

    raw = (pathlib.Path(__file__).parent / file).read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    entry = json.loads(raw[8:start])[key]
    low, high = entry["data_offsets"]
    dtype, shape = STORED[entry["dtype"]], entry["shape"]
    if low == high:
        return torch.empty(shape, dtype=dtype)
    flat = torch.frombuffer(bytearray(raw[start + low : start + high]), dtype=dtype)
    return flat.reshape(shape).to(torch.empty(0).device)

'''


def to_task(
    name: str,
    path: Path,
    definition: Definition,
    workloads: Sequence[Any],
    draw: Draw | None,
    roots: Sequence[Path],
    scale: float | None,
) -> Task:
    """The task that a definition and its workloads make.

    Args:
        path: the definition's file; stored inputs are found from its folder.
        draw: the suite's own rule for random inputs of some names.
        roots: folders in which a workload's ``safetensors`` paths may start.

    Raises:
        TaskError: no workload can be used; the message says why the first cannot.
    """
    rows, why = [], ""
    for workload in workloads:
        try:
            rows.append(read_workload(definition, workload, path.parent, roots))
        except TaskError as error:
            why = why or error.message
    if not rows:
        raise TaskError(f"no workload can be used: {why}" if why else "it has no workloads")
    common = collections.Counter(row.kinds for row in rows).most_common(1)[0][0]
    rows = [row for row in rows if row.kinds == common]
    kinds = dict(zip(definition.inputs, common, strict=True))
    work = {id(row.values): row.elements for row in rows}

    def size(values: Mapping[str, Any]) -> float:
        return work[id(values)]

    entries = spread(scaled([row.values for row in rows], size, scale), size)
    body, consts = _body(definition)
    table = tabulate(entries, body)
    return Task(
        name=name,
        source=_Synthesis(definition, kinds, {**consts, **table.names}, draw).source(body, table),
        path=str(path.resolve()) if "safetensors" in common else str(path),
        cases=table.cases,
        category=definition.op or "custom",
        family=definition.op or "custom",
        scenario="llm",
        summary=definition.description,
    )


def _body(definition: Definition) -> tuple[str, dict[str, str]]:
    """The reference with the constant axes behind it, and the names these got."""
    text = definition.reference
    head = "import torch\n"
    if "__future__" in all_imports(text):
        text, head = without(text, imports({"__future__"})), f"from __future__ import annotations\n{head}"
    placed = devices_as(text, "DEVICE")
    if placed != text:
        head += '\nDEVICE = "cuda" if torch.cuda.is_available() else "cpu"\n'
    body = f"{head}\n{placed.strip()}\n{gradients(text, 'run')}\n\n"
    taken = module_names(body)
    names = {a: free_name(a, taken) for a, spec in definition.axes.items() if spec.get("type") == "const"}
    lines = [f"{name} = {definition.axes[axis]['value']}" for axis, name in names.items()]
    return body + "\n".join(lines) + "\n", names


@dataclass(frozen=True)
class _Synthesis:
    """Writes the text around a reference."""

    definition: Definition
    kinds: Mapping[str, str]
    names: Mapping[str, str]
    """Axis or whole-numbered scalar -> its module-level name."""
    draw: Draw | None

    def source(self, body: str, table: Table) -> str:
        taken = module_names(f"{body}\n{table.text}")
        names = {**self.names}
        lines = []
        for axis, text in expressions(self.definition).items():
            names[axis] = free_name(axis, taken)
            lines.append(f"{names[axis]} = int({_rewritten(text, names)})")
        inputs = [self._input(name, spec, names) for name, spec in self.definition.inputs.items()]
        helper = _STORED if "safetensors" in self.kinds.values() else ""
        parts = (body, "# The workload, replaced for each.", table.text, *lines, helper, self._model(), self._maker(names))
        listed = "".join(f"        {text},\n" for text in inputs)
        return "\n".join(parts) + f"    return [\n{listed}    ]\n\n\ndef get_init_inputs():\n    return []\n"

    def _model(self) -> str:
        arguments = ", ".join(self.definition.inputs)
        outputs = ", ".join(f"{n} {s.get('dtype')} {literal(s.get('shape'))}" for n, s in self.definition.outputs.items())
        about = f"{self.definition.name}; gives {outputs}".replace("\\", "/").replace('"', "'")
        return (
            f'\nclass Model(torch.nn.Module):\n    """{about}."""\n\n'
            f"    def forward(self, {arguments}):\n        return run({arguments})\n\n"
        )

    def _maker(self, names: Mapping[str, str]) -> str:
        """The head of ``get_inputs``."""
        lines = ["def get_inputs():"]
        if devices_as(self.definition.reference, "DEVICE") != self.definition.reference:
            lines += ["    global DEVICE", "    DEVICE = torch.empty(0).device.type"]
        lines += [f"    {line}" for line in seeding(self.definition.reference)]
        if "custom" in self.kinds.values():
            scalars = {n: self._value(n) for n, kind in self.kinds.items() if kind == "scalar"}
            known = {axis: names[axis] for axis in self.definition.axes} | scalars
            pairs = ", ".join(f"{key!r}: {value}" for key, value in known.items())
            lines.append(f"    custom = {self.definition.custom}({{{pairs}}}, torch.empty(0).device)")
        return "\n".join(lines) + "\n"

    def _value(self, name: str) -> str:
        key = key_of(self.definition, name)
        return self.names.get(key, f"VARIANTS[variant][{key!r}]")

    def _input(self, name: str, spec: Mapping[str, Any], names: Mapping[str, str]) -> str:
        kind = self.kinds[name]
        if kind == "scalar":
            return self._value(name)
        if kind == "safetensors":
            return f"stored(**{self._value(name)})"
        if kind == "custom":
            return f"custom[{name!r}]"
        axes, dtype = spec.get("shape"), str(spec.get("dtype"))
        sizes = [_rewritten(str(axis), names) for axis in axes or ()]
        shape = f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"
        about = str(spec.get("description") or "")
        special = self.draw(name, about, dtype, shape) if self.draw and axes else None
        expression = special or plain(dtype, shape)
        return expression if axes is not None else f"{expression}.item()"


def _rewritten(expression: str, names: Mapping[str, str]) -> str:
    """An axis expression over the module-level names; evaluated before, so all its names are known."""
    tree = ast.parse(expression.strip(), mode="eval")
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            node.id = names.get(node.id, node.id)
    return ast.unparse(tree)

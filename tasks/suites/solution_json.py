"""Solutions of flashinfer-trace and SOL-ExecBench: JSON with sources and an entry point, as a kernel with ``forward``.

Upstream calls the entry point with the inputs, and in destination-passing style with output tensors behind them. Here the
kernel makes those as upstream does, and returns what the definition's ``run`` returns: a tensor, a tuple or a mapping.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from kernelwright.tasks.errors import TaskError
from kernelwright.tasks.suites.definition import Definition, expressions
from kernelwright.tasks.suites.solution import check_language
from kernelwright.tasks.suites.text import defined, imported, without

_LANGUAGES = ("python", "pytorch", "triton")
_HELPER = '''

def _as_listed(result, names):
    """The outputs in the definition's order."""
    if isinstance(result, dict):
        return [result[name] for name in names]
    return list(result) if isinstance(result, (tuple, list)) else [result]
'''


@dataclass(frozen=True)
class Solution:
    """One solution as read, its fields checked."""

    definition: str
    languages: tuple[str, ...]
    file: str
    function: str
    sources: Mapping[str, str]
    destination: bool | None
    """Whether outputs are passed in; None: not said."""


def read_solution(text: str) -> Solution | None:
    """The solution in a JSON text; None where it is something else.

    Raises:
        TaskError: it is a solution, and a field is missing or of another kind.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict) or not {"definition", "spec", "sources"} <= data.keys():
        return None
    spec, sources = data["spec"], data["sources"]
    if not isinstance(spec, dict) or not isinstance(sources, list) or not all(isinstance(s, dict) for s in sources):
        raise TaskError("its spec is no object, or its sources are no list of objects")
    found = {str(s.get("path")): s.get("content") for s in sources}
    if not all(isinstance(content, str) for content in found.values()):
        raise TaskError("one of its sources has no content")
    file, colons, function = str(spec.get("entry_point", "")).partition("::")
    if not colons or file not in found:
        raise TaskError(f"its entry point {spec.get('entry_point')!r} names no function of one of its sources")
    languages = spec.get("languages", spec.get("language"))
    languages = tuple(str(x).lower() for x in (languages if isinstance(languages, list) else [languages]))
    passed = spec.get("destination_passing_style")
    destination = None if passed is None else bool(passed)
    return Solution(str(data["definition"]), languages, file, function, found, destination)


def kernel_of(solution: Solution, definition: Definition) -> str:
    """The kernel's text.

    Raises:
        TaskError: it is in a language, or laid out in a way, that cannot be judged here.
    """
    other = [language for language in solution.languages if language not in _LANGUAGES]
    if other or not solution.file.endswith(".py"):
        raise TaskError(f"it is written in {', '.join(other) or solution.file}, for which there is no backend here")
    body, future = _one_text(solution)
    entry = defined(body).get(solution.function)
    if entry is None:
        raise TaskError(f"{solution.file} defines no {solution.function}")
    check_language(body)
    head = "from __future__ import annotations\n" if future else ""
    return f"{head}{body.rstrip()}\n\n\nimport torch\n{_HELPER}{_model(solution, definition, entry)}"


def _one_text(solution: Solution) -> tuple[str, bool]:
    """The entry's text with those of its own modules in front of it, and whether annotations are left unevaluated.

    Modules are put in by ``from module import name``; other ways of importing them would need the files.
    """
    modules = {_dotted(path): text for path, text in solution.sources.items() if path.endswith(".py")}
    order: list[str] = []
    _visit(_dotted(solution.file), modules, order)
    owners: dict[str, str] = {}
    parts = []
    for module in order:
        for name in defined(modules[module]):
            if owners.setdefault(name, module) != module:
                raise TaskError(f"{name} is defined in two of its files, which cannot be put into one text")
        where = {node.lineno for node, _ in _own_imports(modules[module], modules)}
        parts.append(without(modules[module], partial(_dropped, where)))
    return "\n\n".join(parts), any("from __future__ import annotations" in modules[m] for m in order)


def _dropped(lines: Collection[int], statement: ast.stmt) -> bool:
    return statement.lineno in lines or imported(statement) == {"__future__"}


def _visit(module: str, modules: Mapping[str, str], order: list[str], above: tuple[str, ...] = ()) -> None:
    if module in above:
        raise TaskError("its files import each other in a circle")
    for _, other in _own_imports(modules[module], modules):
        if other not in order:
            _visit(other, modules, order, (*above, module))
    order.append(module)


def _own_imports(text: str, modules: Mapping[str, str]) -> Iterator[tuple[ast.stmt, str]]:
    """The imports of a solution's own modules.

    Raises:
        TaskError: one that putting the texts together cannot stand for.
    """
    for node in ast.walk(ast.parse(text)) if _parses(text) else ():
        if isinstance(node, ast.Import) and any(alias.name in modules for alias in node.names):
            raise TaskError("it imports a file of its own as a whole, which cannot be put into one text")
        if isinstance(node, ast.ImportFrom):
            found = [m for m in modules if m == node.module or (node.level and m.split(".")[-1] == (node.module or ""))]
            if found and (node.col_offset or any(alias.asname or alias.name == "*" for alias in node.names)):
                raise TaskError("it imports a file of its own under other names, which cannot be put into one text")
            if found:
                yield node, found[0]


def _parses(text: str) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise TaskError(f"its source does not parse: {error}") from error
    return True


def _dotted(path: str) -> str:
    return ".".join(PurePosixPath(path).with_suffix("").parts)


def _model(solution: Solution, definition: Definition, entry: ast.stmt) -> str:
    inputs, outputs = list(definition.inputs), list(definition.outputs)
    parameters = [a.arg for a in (*entry.args.posonlyargs, *entry.args.args)] if isinstance(entry, ast.FunctionDef) else []
    passed = solution.destination if solution.destination is not None else len(parameters) == len(inputs) + len(outputs)
    given = [*inputs, *outputs] if passed else inputs
    # By name where upstream's first format promised the names, and they stand in another order.
    named = parameters[: len(given)] != given and set(parameters) == set(given)
    arguments = ", ".join(f"{name}={name}" if named else name for name in given)
    call = f"{solution.function}({arguments})"
    made = [*_made(definition), call, f"outputs = [{', '.join(outputs)}]"] if passed else []
    lines = made or [f"outputs = _as_listed({call}, {outputs!r})"]
    lines.append(f"return {_returned(definition, outputs)}")
    body = "".join(f"        {line}\n" for line in lines)
    return f"\n\nclass ModelNew(torch.nn.Module):\n    def forward(self, {', '.join(inputs)}):\n{body}"


def _made(definition: Definition) -> Iterator[str]:
    """Statements that make the outputs, unwritten, from the axes that the inputs' shapes show."""
    names = {axis: f"size_{axis}" for axis in definition.axes}
    texts = expressions(definition)
    for axis, spec in definition.axes.items():
        if spec.get("type") == "const":
            yield f"{names[axis]} = {int(spec['value'])}"
        elif spec.get("type") == "var" and _needed(axis, definition, texts):
            yield f"{names[axis]} = {_shown(axis, definition)}"
    for axis, text in texts.items():
        yield f"{names[axis]} = int({_renamed(text, names)})"
    tensor = next((name for name, spec in definition.inputs.items() if spec.get("shape") is not None), None)
    device = f"{tensor}.device" if tensor else "torch.empty(0).device"
    for name, spec in definition.outputs.items():
        if not isinstance(spec.get("shape"), list):
            raise TaskError(f"its output {name} has no shape: it cannot be passed in")
        sizes = "".join(f"{_renamed(str(axis), names)}, " for axis in spec["shape"])
        yield f"{name} = torch.empty(({sizes}), dtype=torch.{spec.get('dtype')}, device={device})"


def _needed(axis: str, definition: Definition, texts: Mapping[str, str]) -> bool:
    """Whether an output's shape, or another axis, is said in terms of an axis."""
    said = [str(part) for spec in definition.outputs.values() for part in spec.get("shape") or ()]
    return any(axis == node.id for text in (*said, *texts.values()) for node in _name_nodes(text))


def _shown(axis: str, definition: Definition) -> str:
    for name, spec in definition.inputs.items():
        shape: Sequence[Any] = spec.get("shape") or ()
        if axis in shape:
            return f"{name}.shape[{list(shape).index(axis)}]"
    raise TaskError(f"no input shows the size of {axis}, which its outputs need")


def _renamed(expression: str, names: Mapping[str, str]) -> str:
    tree = ast.parse(expression.strip(), mode="eval")
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            node.id = names.get(node.id, node.id)
    return ast.unparse(tree)


def _name_nodes(text: str) -> list[ast.Name]:
    try:
        return [node for node in ast.walk(ast.parse(text.strip(), mode="eval")) if isinstance(node, ast.Name)]
    except SyntaxError as error:
        raise TaskError(f"{text!r} is no arithmetic expression: {error.msg}") from error


def _returned(definition: Definition, outputs: Sequence[str]) -> str:
    """``outputs`` in the form that the reference's ``run`` returns them in."""
    run = defined(definition.reference)["run"]
    returned = [node.value for node in ast.walk(run) if isinstance(node, ast.Return)]
    if any(isinstance(value, ast.Dict) for value in returned):
        return f"dict(zip({list(outputs)!r}, outputs))"
    if any(isinstance(value, ast.List) for value in returned):
        return "outputs"
    several = len(outputs) > 1 or any(isinstance(value, ast.Tuple) for value in returned)
    return "tuple(outputs)" if several else "outputs[0]"

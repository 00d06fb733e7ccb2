"""What TritonBench's three texts of an operator say: a function, a test of it, and a benchmark of it. Executes nothing."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from kernelwright.tasks.errors import TaskError
from kernelwright.tasks.slots import constant, parse
from kernelwright.tasks.suites.text import defined, imported

NOT_ASKED = frozenset({"out", "layout", "device", "generator", "memory_format", "pin_memory", "requires_grad"})
"""Parameters that say where a result goes or how it is stored: a kernel is not asked for them."""
SIZE = "benchmark_size"
"""The module-level integer that is the benchmark's current size."""
_MOST_SIZES = 1000
_METHODS = ("__init__", "get_input_tensors", "call_op")
_UNUSED = frozenset({"sys", "os", "json", "triton", "performance_utils"})


@dataclass(frozen=True)
class Operator:
    """Upstream's function."""

    name: str
    text: str
    parameters: tuple[str, ...]
    by_keyword: frozenset[str]
    """Parameters that can only be given by keyword."""

    @classmethod
    def read(cls, name: str, text: str) -> Operator:
        """The function ``name`` of ``text``.

        Raises:
            TaskError: it takes a variable number of arguments.
        """
        function = defined(text)[name]
        if not isinstance(function, ast.FunctionDef) or function.args.vararg or function.args.kwarg:
            raise TaskError(f"{name} is no function of a fixed number of arguments")
        given = [a.arg for a in (*function.args.posonlyargs, *function.args.args)]
        keywords = [a.arg for a in function.args.kwonlyargs]
        parameters = tuple(p for p in (*given, *keywords) if p not in NOT_ASKED)
        return cls(name, text, parameters, frozenset(keywords))

    def arguments(self) -> str:
        """The parameters, as a call gives them."""
        skipped = False
        parts = []
        given = [a.arg for a in _arguments(self)]
        for parameter in given:
            if parameter in NOT_ASKED:
                skipped = True
            else:
                named = skipped or parameter in self.by_keyword
                parts.append(f"{parameter}={parameter}" if named else parameter)
        return ", ".join(parts)


def _arguments(operator: Operator) -> list[ast.arg]:
    function = defined(operator.text)[operator.name]
    assert isinstance(function, ast.FunctionDef)
    return [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]


@dataclass(frozen=True)
class Test:
    """Upstream's test of the function."""

    name: str
    text: str
    calls: Mapping[int, bool]
    """Numbers, from 1, of the calls whose arguments make a case -> whether only a GPU can answer them."""

    @classmethod
    def read(cls, operator: Operator, text: str, but: Sequence[int] = ()) -> Test:
        """The test function in ``text``, its calls of the function turned to the stand-in; no cases of the calls ``but``.

        Raises:
            TaskError: there is not one test function.
        """
        tests = [s for s in parse(text).body if isinstance(s, ast.FunctionDef) and s.name.startswith("test")]
        if len(tests) != 1:
            raise TaskError(f"it has {len(tests)} test functions (expected one)")
        calls = {n: gpu for n, gpu in _countable(tests[0].body, operator.name) if n not in but}
        kept = (ast.Import, ast.ImportFrom, ast.ClassDef, ast.FunctionDef)
        statements = [s for s in parse(text).body if isinstance(s, kept) and operator.name not in imported(s)]
        segments = [ast.get_source_segment(text, s) or "" for s in statements]
        body = "\n\n".join(segments).replace(".cuda()", ".to(DEVICE)")
        unseeded = _spliced(body, [(n, "None") for n in ast.walk(parse(body)) if _is_seeding(n)])
        return cls(tests[0].name, _redirected(unseeded, operator.name), calls)


def _countable(statements: Sequence[ast.stmt], name: str) -> Iterator[tuple[int, bool]]:
    """The numbers of the calls of ``name`` that are always reached in this order; a ``try`` around one expects an error.

    With each, whether it, or one before it, asks for an LU factorisation without pivoting, which torch has on GPUs only.
    """
    count, gpu = 0, False
    for statement in statements:
        if isinstance(statement, (ast.For, ast.While, ast.If, ast.FunctionDef)):
            return
        for call in ast.walk(statement):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == name:
                count += 1
                gpu = gpu or any(k.arg == "pivot" and ast.unparse(k.value) == "False" for k in call.keywords)
                if not isinstance(statement, ast.Try) and not any(k.arg in NOT_ASKED for k in call.keywords):
                    yield count, gpu


def _is_seeding(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "manual_seed"


@dataclass(frozen=True)
class Benchmark:
    """Upstream's benchmark of the function: a class whose ``get_input_tensors`` loops over sizes."""

    text: str
    """The class, its loop cut down to the current size, which it calls :data:`SIZE`."""
    values: tuple[int, ...]
    """The sizes of the loop; what they mean (an exponent, a multiple) is the benchmark's own."""
    exponential: bool
    """A size is an exponent of 2."""
    dtype: str

    @classmethod
    def read(cls, operator: Operator, text: str) -> Benchmark:
        """The class ``performance_metrics`` in ``text``.

        Raises:
            TaskError: it has no loop over a range of sizes.
        """
        found = defined(text).get("performance_metrics")
        methods = [m for m in found.body if isinstance(m, ast.FunctionDef)] if isinstance(found, ast.ClassDef) else []
        makers = [m for m in methods if m.name == "get_input_tensors"]
        loops = [loop for maker in makers for node in ast.walk(maker) for loop in _ranges(node)]
        if not loops:
            raise TaskError("its benchmark has no loop over a range of sizes")
        variable, sizes = min(loops, key=lambda loop: loop[1].lineno)
        values = _values(sizes)
        maker = ast.get_source_segment(text, makers[0]) or ""
        exponent = re.search(rf"(\*\*|<<)\s*\(?\s*{variable}\b", maker)
        kept = _imports(text) + "\n\n\nclass performance_metrics(Performance_Metrics):\n"
        cut = _spliced(text, [(sizes, f"[{SIZE}]")])
        body = defined(cut)["performance_metrics"]
        assert isinstance(body, ast.ClassDef)
        for method in body.body:
            if isinstance(method, ast.FunctionDef) and method.name in _METHODS:
                kept += "    " + (ast.get_source_segment(cut, method) or "") + "\n\n"
        dtypes = [dtype for dtype in ("float16", "bfloat16") if re.search(rf"\b{dtype}\b", maker)]
        return cls(_redirected(kept.rstrip(), operator.name), values, exponent is not None, (*dtypes, "float32")[0])

    def work(self, size: int) -> float:
        """A measure of the work that a size makes, for comparisons."""
        return 2.0**size if self.exponential else float(size) ** 2


def _ranges(node: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """The variable and the range of a loop over a range of literal integers; nothing for any other node."""
    if isinstance(node, ast.For) and isinstance(node.target, ast.Name) and isinstance(node.iter, ast.Call):
        called = node.iter.func
        if isinstance(called, ast.Name) and called.id == "range" and all(constant(a) is not None for a in node.iter.args):
            yield node.target.id, node.iter


def _values(sizes: ast.Call) -> tuple[int, ...]:
    """The integers of a range of literals."""
    bounds = [constant(a) or 0 for a in sizes.args]
    found = range(*bounds) if 1 <= len(bounds) <= 3 and 0 not in bounds[2:] else range(0)
    if not 0 < len(found) <= _MOST_SIZES:
        raise TaskError(f"its benchmark loops over {ast.unparse(sizes)} (expected 1 to {_MOST_SIZES} sizes)")
    return tuple(found)


def _imports(text: str) -> str:
    """The benchmark's imports, without those that only its own run needs."""
    statements = [s for s in parse(text).body if isinstance(s, (ast.Import, ast.ImportFrom))]
    kept = [s for s in statements if not imported(s) <= _UNUSED and not imported(s) <= {"TorchBench_v1"}]
    return "\n".join(ast.unparse(s) for s in kept)


def _redirected(text: str, name: str) -> str:
    """``text`` with calls of ``name`` turned to the stand-in."""
    calls = [n.func for n in ast.walk(parse(text)) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
    return _spliced(text, [(function, "stand_in") for function in calls if function.id == name])


def _spliced(text: str, edits: Sequence[tuple[ast.AST, str]]) -> str:
    """``text`` with the characters of some expressions replaced; no expression lies within another."""
    lines = text.encode().splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    raw = text.encode()
    places = [(_offsets(node, starts), new) for node, new in edits]
    for (start, end), new in sorted(places, reverse=True):
        raw = raw[:start] + new.encode() + raw[end:]
    return raw.decode()


def _offsets(node: ast.AST, starts: Sequence[int]) -> tuple[int, int]:
    assert isinstance(node, ast.expr)
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    return starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset

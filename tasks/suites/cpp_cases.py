"""The cases that a C++ test program lists: lists of integers, and loops over them that fill in the fields of a case.

Reads the few forms that MSKernelBench's ``load_test_case`` is written in, by their text; compiles and executes nothing.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from kernelwright.tasks.errors import TaskError
from kernelwright.tasks.slots import constant

_FUNCTION = re.compile(r"^void\s+load_test_case\b", re.MULTILINE)
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_LIST = re.compile(r"\bstd::vector<[^;=]*>\s+(\w+)\s*=\s*(\{[^;]*\})\s*;")
_NUMBER = re.compile(r"\bint\s+(\w+)\s*=\s*([\d\s<+*-]+);")
_LOOP = re.compile(
    r"\bfor\s*\(\s*(?:int|size_t)\s+(?:(?P<index>\w+)\s*=\s*0\s*;\s*\w+\s*<\s*(?P<over>\w+)\.size\(\)|(?P<each>\w+)\s*:\s*(?P<of>\w+)\s*\))"
)
_FIELD = re.compile(r"\btest_case\.(\w+)\s*=\s*([^;]+);")
_ELEMENT = re.compile(r"(?:std::get<(?P<get>\d+)>\()?(?P<list>\w+)\[(?P<index>\w+)\](?:\[(?P<at>\d+)\])?\)?")


def listed_cases(source: str) -> list[Mapping[str, int]]:
    """The integer fields of every case that ``load_test_case`` makes, in its order; fields of other kinds are not told.

    Raises:
        TaskError: there is no such function, or it loops over no list.
    """
    body = _body(source)
    lists = {name: _literal(name, text) for name, text in _LIST.findall(body)}
    numbers = {name: _integer(text) for name, text in _NUMBER.findall(body)}
    loops = [(m["index"] or m["each"], m["over"] or m["of"], m["index"] is not None) for m in _LOOP.finditer(body)]
    loops = [loop for loop in loops if loop[1] in lists]
    if not loops:
        raise TaskError("its load_test_case loops over no list of sizes")
    rows: list[Mapping[str, int]] = []
    for chosen in itertools.product(*(range(len(lists[name])) for _, name, _ in loops)):
        places = {variable: at for (variable, _, indexed), at in zip(loops, chosen, strict=True) if indexed}
        values = {v: lists[name][at] for (v, name, indexed), at in zip(loops, chosen, strict=True) if not indexed}
        fields = {key: _value(text.strip(), lists, places, {**numbers, **values}) for key, text in _FIELD.findall(body)}
        rows.append({key: value for key, value in fields.items() if type(value) is int})
    return rows


def _body(source: str) -> str:
    """The function's text, without comments."""
    start = _FUNCTION.search(source)
    if start is None:
        raise TaskError("its test program has no load_test_case")
    end = source.find("\n}", start.start())
    return _COMMENT.sub("", source[start.start() : end if end > 0 else len(source)])


def _literal(name: str, text: str) -> Sequence[Any]:
    """``{{1, 2}, {1 << 2, 3}}`` as lists of integers."""
    try:
        tree = ast.parse(" ".join(text.replace("{", "[").replace("}", "]").split()), mode="eval").body
    except SyntaxError:
        tree = ast.Constant(None)
    found = _plain(tree)
    if not isinstance(found, list) or not found:
        raise TaskError(f"its list {name} is no list of integers: {' '.join(text.split())[:60]}")
    return found


def _plain(node: ast.expr) -> Any:
    if isinstance(node, ast.List):
        found = [_plain(element) for element in node.elts]
        return None if None in found else found
    return constant(node)


def _integer(text: str) -> int | None:
    try:
        return constant(ast.parse(text.strip(), mode="eval").body)
    except SyntaxError:
        return None


def _value(text: str, lists: Mapping[str, Sequence[Any]], places: Mapping[str, int], values: Mapping[str, Any]) -> Any:
    """What a field is set to: an element of a list, a number, or None for anything else."""
    element = _ELEMENT.fullmatch(text)
    if element is None:
        return values[text] if text in values else _integer(text)
    if element["list"] not in lists or element["index"] not in places:
        return None
    found = lists[element["list"]][places[element["index"]]]
    inner = element["get"] or element["at"]
    return found[int(inner)] if inner and isinstance(found, list) and int(inner) < len(found) else found

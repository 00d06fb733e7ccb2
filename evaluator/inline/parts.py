"""The parts of a CUDA source: device code, which is compiled, and host functions, which are read. Executes nothing.

Device code keeps its place, line by line. Each kernel becomes a device function; what is launched is an entry of ours, which
:mod:`~kernelwright.evaluator.inline.launches` writes for each launch, where the host function that makes it stood.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from kernelwright.evaluator.inline.tokens import Macro, Token, closing, macros, missing, split, tokens, uncommented, words
from kernelwright.evaluator.toolchain import BuildError
from kernelwright.evaluator.toolchain_cuda import allowed_header

_DEVICE = frozenset({"__global__", "__device__", "__constant__", "__managed__", "__shared__"})
_TYPES = frozenset({"struct", "class", "union", "enum"})
_BOUNDS = ("__launch_bounds__", "__cluster_dims__", "__maxnreg__", "__block_size__")
_TORCH_HEADER = re.compile(r'^\s*(?:#|%:)\s*include\s*[<"](?:torch|ATen|c10|pybind11)/[\w/.]+[>"]\s*$|.*[<"]Python\.h[>"]\s*$')
_HOST_HEADER = re.compile(
    r"^\s*(?:#|%:)\s*include\s*<(?:vector|iostream|string|stdexcept|algorithm|cassert|assert\.h|cstdio|stdio\.h|cstdlib|stdlib\.h"
    r"|cstring|string\.h|optional|tuple|memory|sstream|utility|array|map|unordered_map|functional|numeric|mutex|iomanip"
    r"|device_launch_parameters\.h|cuda_runtime(?:_api)?\.h|device_functions\.h)>\s*$"
)
_INCLUDE = re.compile(r"""\s*(?:#|%:)\s*(?:include(?:_next)?|import|embed)\b(?:\s*[<"]([^>"]*)[>"]\s*$)?""")
_MOST_TEMPLATE = 400
"""Tokens of a template's parameters that are looked at."""
_ALLOWED_AT = frozenset({"Half", "BFloat16"})
_PYBIND = frozenset({"PYBIND11_MODULE", "TORCH_LIBRARY", "TORCH_LIBRARY_FRAGMENT", "TORCH_LIBRARY_IMPL"})


@dataclass(frozen=True)
class HostFunction:
    """A function that runs on the CPU."""

    name: str
    file: str
    line: int
    result: tuple[Token, ...]
    parameters: tuple[tuple[Token, ...], ...]
    body: tuple[Token, ...]
    """Between its braces."""
    template: tuple[tuple[Token, ...], ...] | None = None
    """Its parameters; None: it is none."""
    start: int = 0
    """Place in its file's text: its entries stand there."""
    nameless: int = 0
    """Inside a namespace without a name: 1, where that is the innermost; 2, further in."""


@dataclass(frozen=True)
class Kernel:
    """A ``__global__`` function."""

    name: str
    parameters: tuple[tuple[Token, ...], ...]
    template: tuple[tuple[Token, ...], ...] | None
    bounds: str
    """Its attributes about blocks and registers, as they are written."""


@dataclass
class Parts:
    """What one or more sources consist of."""

    functions: dict[str, list[HostFunction]] = field(default_factory=dict)
    kernels: dict[str, Kernel] = field(default_factory=dict)
    macros: dict[str, Macro] = field(default_factory=dict)
    constants: dict[str, tuple[tuple[Token, ...], tuple[Token, ...]]] = field(default_factory=dict)
    """Name -> tokens of its type and its value, of variables outside functions that do not change."""
    aliases: dict[str, tuple[Token, ...]] = field(default_factory=dict)
    declared: list[str] = field(default_factory=list)
    """Host functions that are declared without a body."""
    bound: dict[str, str] = field(default_factory=dict)
    """What ``PYBIND11_MODULE`` gives out: name -> host function."""
    texts: dict[str, str] = field(default_factory=dict)
    """File -> its text."""
    device: dict[str, list[str]] = field(default_factory=dict)
    """File -> its characters with host code blanked; what replaces some stands at the first of them."""


def read(parts: Parts, file: str, text: str) -> None:
    """Add a source to ``parts``.

    Raises:
        BuildError: brackets that do not close, a kernel defined twice with other parameters.
        NotModelled: something outside functions that is not modelled, with its name.
    """
    every = tokens(text)
    parts.macros |= macros(every)
    reader = _Reader(parts, file, text)
    for token in every:
        said = uncommented(token.text) if token.kind == "directive" else ""
        include = _INCLUDE.match(said)
        if include is None:
            continue
        if _TORCH_HEADER.match(said) or _HOST_HEADER.match(said):
            reader.blank(token.start, token.end)
        elif not allowed_header(include[1] or ""):
            raise missing(token.line, token.text.strip(), "a header that is neither torch's nor CUDA's for devices")
    reader.scope([token for token in every if token.kind != "directive"], nameless=0)
    parts.texts[file], parts.device[file] = text, reader.text


class _Reader:
    def __init__(self, parts: Parts, file: str, text: str) -> None:
        self._parts, self._file = parts, file
        self.text = list(text)

    def blank(self, start: int, end: int) -> None:
        """Take text away; its lines stay."""
        self.text[start:end] = [c if c == "\n" else " " for c in self.text[start:end]]

    def scope(self, given: Sequence[Token], nameless: int) -> None:
        """What stands outside all functions, or in a namespace."""
        i = 0
        while i < len(given):
            opened = _opens_scope(given, i)
            if opened is not None:
                end = closing(given, opened)
                inner = 1 if opened == i + 1 and given[i].text == "namespace" and not nameless else 2 * bool(nameless)
                self.scope(given[opened + 1 : end], inner)
                i = end + 1
                continue
            end, body = _item(given, i)
            if end > i:
                self._item(given[i:end], None if body is None else body - i, nameless)
            i = max(end, i + 1)

    def _item(self, item: Sequence[Token], body: int | None, nameless: int) -> None:
        """One declaration or definition; ``body``: where its braces open."""
        template, start = _template(item)
        head = item[start : body if body is not None else len(item)]
        said = set(words(head))
        if item[0].text in _PYBIND:
            self._bind(item)
        elif said & _DEVICE or (head and head[0].text in _TYPES):
            self._device(item, head, template)
            if "__host__" in said and body is not None and _parameters(head) is not None:
                self._function(item, head, body, template, nameless)
        elif body is not None and _parameters(head) is not None:
            self._function(item, head, body, template, nameless)
        elif body is None and _parameters(head) is not None and not said & {"using", "typedef"} and "=" not in _outside(head):
            place = _parameters(head) or 1
            self._parts.declared.append(head[place - 1].text)
            self._drop(item)
        else:
            self._value(item, head)

    def _drop(self, item: Sequence[Token]) -> None:
        self.blank(item[0].start, item[-1].end)

    def _device(self, item: Sequence[Token], head: Sequence[Token], template: tuple[tuple[Token, ...], ...] | None) -> None:
        for name in _of_torch(item):
            if name.text not in _ALLOWED_AT:
                raise missing(name.line, name.text, "of torch, in device code")
        where = next((token for token in head if token.text == "__global__"), None)
        if where is None:
            return
        place = _parameters(head)
        if place is None:
            raise missing(where.line, "__global__", "of what is no plain function or template, such as a specialisation")
        bounds = self._bounds(head[:place])
        kernel = Kernel(head[place - 1].text, _declared(head, place), template, bounds)
        known = self._parts.kernels.get(kernel.name)
        if known is not None and len(known.parameters) != len(kernel.parameters):
            raise missing(where.line, kernel.name, "a kernel with two sets of parameters")
        self._parts.kernels[kernel.name] = kernel if known is None or bounds else known
        self.text[where.start : where.end] = ["__device__ __forceinline__", *[""] * (where.end - where.start - 1)]

    def _bounds(self, head: Sequence[Token]) -> str:
        """Attributes that an entry has and a device function may not have; they are taken out."""
        found = []
        for i, token in enumerate(head):
            if token.text in _BOUNDS and i + 1 < len(head) and head[i + 1].text == "(":
                end = closing(head, i + 1)
                found.append(" ".join(_texts(head[i : end + 1])))
                self.blank(token.start, head[end].end)
        return " ".join(found)

    def _function(
        self,
        item: Sequence[Token],
        head: Sequence[Token],
        body: int,
        template: tuple[tuple[Token, ...], ...] | None,
        nameless: int,
    ) -> None:
        place = _parameters(head)
        assert place is not None
        function = HostFunction(
            name=head[place - 1].text,
            file=self._file,
            line=head[place - 1].line,
            result=tuple(token for token in head[: place - 1] if token.text not in ("extern", '"C"')),
            parameters=_declared(head, place),
            body=tuple(item[body + 1 : closing(item, body)]),
            template=template,
            start=item[0].start,
            nameless=nameless,
        )
        self._parts.functions.setdefault(function.name, []).append(function)
        if not {"constexpr", "__device__"} & set(words(head)):  # that device code may use too
            self._drop(item)

    def _value(self, item: Sequence[Token], head: Sequence[Token]) -> None:
        """A variable, an alias, or what else stands there; what names torch or the host's library is no device code."""
        texts = _texts(head)
        if texts[:1] == ["using"] and texts[2:3] == ["="]:
            self._parts.aliases[texts[1]] = tuple(head[3:-1])
        elif texts[:1] == ["typedef"]:
            self._parts.aliases[texts[-2]] = tuple(head[1:-2])
        elif {"const", "constexpr"} & set(texts) and "=" in texts:
            at = texts.index("=")
            self._parts.constants[texts[at - 1]] = (tuple(head[: at - 1]), tuple(head[at + 1 : -1]))
        if {"torch", "at", "c10", "std", "cudaStream_t", "pybind11", "py"} & set(texts):
            self._drop(item)

    def _bind(self, item: Sequence[Token]) -> None:
        """``m.def("name", &function, …)`` of each."""
        if item[0].text != "PYBIND11_MODULE":
            raise missing(item[0].line, item[0].text, "bindings")
        for i, token in enumerate(item):
            if token.text == "def" and i + 1 < len(item) and item[i + 1].text == "(":
                arguments = split(item[i + 2 : closing(item, i + 1)])
                target = [t.text for t in arguments[1] if t.text != "&"] if len(arguments) > 1 else []
                if len(target) != 1 or arguments[0][0].kind != "string":
                    raise missing(token.line, "m.def", "bindings of anything but a function by its name")
                self._parts.bound[arguments[0][0].text[1:-1]] = target[0]
        self._drop(item)


def _opens_scope(given: Sequence[Token], i: int) -> int | None:
    """Where the braces of a namespace or of ``extern "C"`` open that begins at ``i``."""
    if given[i].text == "inline" and i + 1 < len(given) and given[i + 1].text == "namespace":
        i += 1
    if given[i].text == "extern" and i + 2 < len(given) and given[i + 1].kind == "string" and given[i + 2].text == "{":
        return i + 2
    if given[i].text != "namespace":
        return None
    j = i + 1
    while j < len(given) and (given[j].kind == "word" or given[j].text == "::"):
        j += 1
    return j if j < len(given) and given[j].text == "{" else None


def _item(given: Sequence[Token], i: int) -> tuple[int, int | None]:
    """Place after the item that begins at ``i``, and of the braces of its body if it is a function's."""
    call = value = False
    j = i + _template(given[i : i + _MOST_TEMPLATE])[1]
    while j < len(given):
        text = given[j].text if given[j].kind == "mark" else ""
        if text == ";":
            return j + 1, None
        if text in ("(", "[", "[["):
            call = call or text == "("
            j = closing(given, j)
        elif text == "{":
            end = closing(given, j)
            if (call and not value) or given[i].text in _PYBIND:
                return end + 1, j
            j = end
        elif text == "=":
            value = True
        elif text in ("}", ")", "]"):
            raise BuildError(f"line {given[j].line}: `{text}` closes nothing")
        j += 1
    raise BuildError(f"line {given[i].line}: `{given[i].text}` begins something that does not end; a `;` is missing")


def _template(item: Sequence[Token]) -> tuple[tuple[tuple[Token, ...], ...] | None, int]:
    """The parameters of a template and where its declaration goes on."""
    if item[0].text != "template" or len(item) < 2 or item[1].text != "<":
        return None, 0
    depth = 0
    for j in range(1, len(item)):
        depth += (item[j].text == "<") - (item[j].text == ">")
        if depth == 0:
            return tuple(tuple(part) for part in split(item[2:j], types=True)), j + 1
    raise BuildError(f"line {item[0].line}: `template <` without its `>`")


def _parameters(head: Sequence[Token]) -> int | None:
    """Where the brackets of a function's parameters open: the first that follow its name."""
    for i in range(1, len(head)):
        if (
            head[i].text == "("
            and head[i - 1].kind == "word"
            and head[i - 1].text not in (*_BOUNDS, "__attribute__", "alignas")
        ):
            return i
    return None


def _declared(head: Sequence[Token], place: int) -> tuple[tuple[Token, ...], ...]:
    parts = split(head[place + 1 : closing(head, place)], types=True)
    return tuple(tuple(part) for part in parts if _texts(part) != ["void"])


def _texts(given: Iterable[Token]) -> list[str]:
    return [token.text for token in given]


def _outside(given: Sequence[Token]) -> list[str]:
    """Texts outside round brackets."""
    found, i = [], 0
    while i < len(given):
        i = closing(given, i) if given[i].text == "(" and given[i].kind == "mark" else i
        found.append(given[i].text)
        i += 1
    return found


def _of_torch(item: Sequence[Token]) -> Iterable[Token]:
    """What follows ``at::``, ``c10::`` or ``torch::``."""
    for before, mark, name in zip(item, item[1:], item[2:], strict=False):
        if before.text in ("at", "c10", "torch", "thrust", "cutlass") and mark.text == "::":
            yield name

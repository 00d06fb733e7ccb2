r"""Read the ``extern "C"`` functions of a C++ source: names, parameters and types. Standard library only.

A reader of tokens, not a compiler: it knows comments, literals, preprocessor lines, object-like macros, ``typedef`` and
``using`` of known types, attributes and linkage blocks. What it cannot read it names; it never guesses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from kernelwright.evaluator.toolchain import BuildError

_TOKEN = re.compile(
    r"""
    (?P<comment>//[^\n]*|/\*.*?(?:\*/|\Z))
  | (?P<raw>R"(?P<delimiter>[^()\\\s]{0,16})\(.*?(?:\)(?P=delimiter)"|\Z))
  | (?P<string>"(?:\\.|[^"\\\n])*")
  | (?P<char>'(?:\\.|[^'\\\n])+')
  | (?P<word>[A-Za-z_]\w*)
  | (?P<number>\.?\d(?:[eEpP][+-]|['\w.])*)
  | (?P<mark>::|\[\[|\]\]|->|\S)
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT = re.compile(
    r"""//[^\n]*|/\*.*?(?:\*/|\Z)|(?P<literal>R"(?P<d>[^()\\\s]{0,16})\(.*?(?:\)(?P=d)"|\Z)|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])')""",
    re.DOTALL,
)
_DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n\\]|\\.)*", re.MULTILINE | re.DOTALL)
_DEFINE = re.compile(r"\s*#\s*define\s+([A-Za-z_]\w*)(?!\()[ \t]+(.*)", re.DOTALL)

_KINDS: Mapping[str, tuple[str, ...]] = {
    "bool": ("bool",),
    "int8": ("int8_t", "signed char", "char"),
    "uint8": ("uint8_t", "unsigned char"),
    "int16": ("int16_t", "short", "short int"),
    "uint16": ("uint16_t", "unsigned short", "unsigned short int"),
    "int32": ("int32_t", "int", "signed", "signed int"),
    "uint32": ("uint32_t", "unsigned", "unsigned int"),
    "int64": ("int64_t", "long", "long int", "long long", "long long int", "ptrdiff_t", "ssize_t", "intptr_t"),
    "uint64": ("uint64_t", "unsigned long", "unsigned long int", "unsigned long long", "size_t", "uintptr_t"),
    "float16": ("_Float16", "__half", "half"),
    "bfloat16": ("__bf16", "__nv_bfloat16"),
    "float32": ("float",),
    "float64": ("double",),
    "tensor_map": ("CUtensorMap",),
    "void": ("void",),
}
_BY_SPELLING = {" ".join(sorted(name.split())): kind for kind, names in _KINDS.items() for name in names}
_BY_SPELLING["int long long unsigned"] = "uint64"
_QUALIFIERS = frozenset(
    {
        "const",
        "volatile",
        "restrict",
        "__restrict",
        "__restrict__",
        "struct",
        "register",
        "extern",
        "inline",
        "__inline__",
        "noexcept",
        "__global__",
        "__grid_constant__",
    }
)
_SPECIFIERS = frozenset({"static", "inline", "constexpr", "typedef", "using", "struct", "class", "enum", "union", "namespace"})
_ATTRIBUTES = frozenset(
    {"__attribute__", "__declspec", "alignas", "__asm__", "asm", "__launch_bounds__", "__cluster_dims__", "__maxnreg__"}
)
_CLOSING = {"(": ")", "{": "}", "[": "]", "[[": "]]"}


@dataclass(frozen=True)
class CType:
    """A scalar kind (``int64``, ``float32``, …, ``void``) or a pointer to one."""

    kind: str
    pointer: bool = False

    def __str__(self) -> str:
        return self.kind + ("*" if self.pointer else "")


@dataclass(frozen=True)
class Parameter:
    name: str
    type: CType


@dataclass(frozen=True)
class Prototype:
    """One exported function."""

    name: str
    result: CType
    parameters: tuple[Parameter, ...]

    def __str__(self) -> str:
        return f"{self.result} {self.name}({', '.join(f'{p.type} {p.name}' for p in self.parameters)})"


def prototypes(source: str) -> dict[str, Prototype]:
    """The functions that ``source`` defines with C linkage, by name, in order.

    Raises:
        BuildError: none at all, a type that cannot be bound, or two definitions that disagree.
    """
    tokens, aliases = _tokens(source)
    defined = defined_names(tokens)
    found: dict[str, Prototype] = {}
    for declaration in _declarations(tokens):
        opening = next((i for i, token in enumerate(declaration) if token == "("), 0)
        name = declaration[opening - 1] if opening else ""
        if name not in defined or _SPECIFIERS & set(declaration[:opening]):
            continue  # a variable, a declaration of somebody else's function, or internal linkage
        prototype = _prototype(declaration, opening, aliases)
        if found.setdefault(name, prototype) != prototype:
            raise BuildError(f'extern "C" {name} is defined twice: {found[name]} and {prototype}; give each its own name')
    if not found:
        raise BuildError(
            'no extern "C" function with a body found; write `extern "C" void name(const float* x, int64_t n) {…}` '
            "(functions made by macros are not seen)"
        )
    return found


def kernel_prototypes(source: str) -> dict[str, Prototype]:
    """The ``extern "C" __global__`` kernels that a CUDA source defines, by name, in order.

    Raises:
        BuildError: none at all, a type that cannot be bound, or an exported function that is no kernel.
    """
    tokens, _ = _tokens(source)
    defined = defined_names(tokens)
    for declaration in _declarations(tokens):
        head = declaration[: declaration.index("(")] if "(" in declaration else []
        if head and head[-1] in defined and "__global__" not in head and not _SPECIFIERS & set(head):
            raise BuildError(
                f'extern "C" {head[-1]} is no kernel: write `extern "C" __global__ void name(…)`; helpers are plain '
                "`__device__` functions, and host code is not compiled"
            )
    if not any("__global__" in declaration for declaration in _declarations(tokens)):
        raise BuildError(
            'no `extern "C" __global__ void name(…) {…}` found; templates are instantiated inside a kernel of that form'
        )
    return prototypes(source)


def code_tokens(source: str) -> Iterator[tuple[int, str, str]]:
    """(line, kind, text) of every token outside comments; kinds are word, number, mark, string, char, raw."""
    line, last = 1, 0
    for match in _TOKEN.finditer(source):
        line += source.count("\n", last, match.start())
        last = match.start()
        kind = match.lastgroup or "mark"
        if kind == "delimiter":
            kind = "raw"
        if kind != "comment":
            yield line, kind, match[0]


def _tokens(source: str) -> tuple[list[str], dict[str, str]]:
    """Tokens without comments and directives, object-like macros expanded; and names of aliased types."""
    macros: dict[str, list[str]] = {}
    clean = _COMMENT.sub(lambda m: m[0] if m["literal"] else re.sub(r"[^\n]", " ", m[0]), source)
    for directive in _DIRECTIVE.finditer(clean):
        if define := _DEFINE.match(directive[0]):
            macros[define[1]] = [text for _, _, text in code_tokens(define[2].replace("\\\n", " "))]
    tokens: list[str] = []
    for _, kind, text in code_tokens(_DIRECTIVE.sub("", clean)):
        tokens.extend(_expand(text, macros, ()) if kind == "word" else [text])
    return tokens, _aliases(tokens)


def _expand(word: str, macros: Mapping[str, list[str]], active: tuple[str, ...]) -> list[str]:
    if word not in macros or word in active:
        return [word]
    return [part for token in macros[word] for part in _expand(token, macros, (*active, word))]


def _aliases(tokens: Sequence[str]) -> dict[str, str]:
    """``using A = B;`` and ``typedef B A;``: A -> spelling of B."""
    aliases: dict[str, str] = {}
    for i, token in enumerate(tokens):
        if token not in ("using", "typedef"):
            continue
        end = next((j for j in range(i, min(i + 12, len(tokens))) if tokens[j] == ";"), i)
        body = list(tokens[i + 1 : end])
        if token == "using" and len(body) > 2 and body[1] == "=":
            aliases[body[0]] = " ".join(body[2:])
        elif token == "typedef" and len(body) > 1:
            aliases[body[-1]] = " ".join(body[:-1])
    return aliases


def defined_names(tokens: Sequence[str]) -> set[str]:
    """Names that some ``name(…) {`` gives a body to."""
    names = set()
    for i, token in enumerate(tokens[:-1]):
        if tokens[i + 1] == "(" and (token[0].isalpha() or token[0] == "_"):
            after = _skip_attributes(tokens, _skip(tokens, i + 1))
            if after < len(tokens) and tokens[after] == "{":
                names.add(token)
    return names


def _declarations(tokens: Sequence[str]) -> Iterator[list[str]]:
    """What follows each ``extern "C"``: one declaration, or those of the linkage block; without bodies."""
    i = 0
    while i < len(tokens) - 2:
        if tokens[i] != "extern" or tokens[i + 1] != '"C"':
            i += 1
        elif tokens[i + 2] == "{":
            end = _skip(tokens, i + 2) - 1
            i += 3
            while i < end:
                declaration, i = _declaration(tokens, i, end)
                yield declaration
        else:
            declaration, i = _declaration(tokens, i + 2, len(tokens))
            yield declaration


def _declaration(tokens: Sequence[str], start: int, end: int) -> tuple[list[str], int]:
    """One declaration from ``start`` without attributes and body, and where the next begins."""
    kept: list[str] = []
    i = start
    while i < end:
        after = _skip_attributes(tokens, i)
        if after > i:
            i = after
            continue
        token = tokens[i]
        if token == ";":
            return kept, i + 1
        if token == "{":
            i = _skip(tokens, i)
            if kept and kept[-1] == ")":
                return kept, i
            continue  # a struct or an initialiser: its declaration ends at the semicolon
        if token == "(":
            after = _skip(tokens, i)
            kept.extend(tokens[i:after])
            i = after
            continue
        kept.append(token)
        i += 1
    return kept, end


def _skip(tokens: Sequence[str], i: int) -> int:
    """Index after the bracket that closes the one at ``i``."""
    opening, closing = tokens[i], _CLOSING[tokens[i]]
    depth = 0
    for j in range(i, len(tokens)):
        if tokens[j] == opening:
            depth += 1
        elif tokens[j] == closing:
            depth -= 1
            if depth == 0:
                return j + 1
    return len(tokens)


def _skip_attributes(tokens: Sequence[str], i: int) -> int:
    while i < len(tokens):
        if tokens[i] in _ATTRIBUTES and i + 1 < len(tokens) and tokens[i + 1] == "(":
            i = _skip(tokens, i + 1)
        elif tokens[i] == "[[":
            i = _skip(tokens, i)
        elif tokens[i] == "noexcept":
            i += 1
        else:
            break
    return i


def _prototype(declaration: Sequence[str], opening: int, aliases: Mapping[str, str]) -> Prototype:
    name = declaration[opening - 1]
    result = _type(declaration[: opening - 1], aliases, f'extern "C" {name}: its result')[0]
    if result.pointer:
        raise BuildError(f'extern "C" {name} returns {result}; return void or a scalar and write results through a pointer')
    inside = declaration[opening + 1 : _skip(declaration, opening) - 1]
    parameters = []
    for position, part in enumerate(_split(inside)):
        if part in (["void"], []):
            continue
        where = f'extern "C" {name}: parameter {position + 1}'
        kind, label = _type(part, aliases, where)
        if kind.kind == "void" and not kind.pointer:
            raise BuildError(f"{where} has type void")
        if kind.kind == "tensor_map" and (
            kind.pointer or not {"__grid_constant__", "__global__"} <= {*part, *declaration[:opening]}
        ):
            raise BuildError(f"{where}: a kernel takes a tensor map as `const __grid_constant__ CUtensorMap name`")
        parameters.append(Parameter(label or f"argument {position + 1}", kind))
    return Prototype(name, result, tuple(parameters))


def _split(tokens: Sequence[str]) -> Iterator[list[str]]:
    part: list[str] = []
    depth = 0
    for token in tokens:
        depth += token in ("(", "[", "<")
        depth -= token in (")", "]", ">")
        if token == "," and depth == 0:
            yield part
            part = []
        else:
            part.append(token)
    yield part


def _type(tokens: Sequence[str], aliases: Mapping[str, str], where: str) -> tuple[CType, str]:
    """The type and name that a declarator spells."""
    if "=" in tokens:
        tokens = tokens[: tokens.index("=")]
    pointers = tokens.count("*")
    if "[" in tokens:
        pointers += 1
        tokens = tokens[: tokens.index("[")]
    words = [t for t in tokens if t not in _QUALIFIERS and t not in ("*", "std", "::")]
    spelling = " ".join(tokens)
    for used in (len(words), len(words) - 1):
        kind, extra = _kind(words[:used], aliases)
        if kind and pointers + extra <= 1:
            return CType(kind, pointer=pointers + extra == 1), "".join(words[used:])
    raise BuildError(
        f"{where} has type `{spelling}`, which cannot be bound; "
        "use bool, (u)int8_t … (u)int64_t, size_t, float, double, or a pointer to one, _Float16*, __bf16* or void*"
    )


def _kind(words: Sequence[str], aliases: Mapping[str, str]) -> tuple[str, int]:
    """(kind or '', pointers hidden in an alias) of a type's words."""
    if not words:
        return "", 0
    key = " ".join(sorted(words))
    if key in _BY_SPELLING:
        return _BY_SPELLING[key], 0
    if len(words) == 1 and words[0] in aliases:
        target = aliases[words[0]].split()
        shorter = {name: spelling for name, spelling in aliases.items() if name != words[0]}
        kind, extra = _kind([t for t in target if t not in _QUALIFIERS and t not in ("*", "std", "::")], shorter)
        return kind, extra + target.count("*")
    return "", 0

"""Tokens of CUDA C++ with their places, and a preprocessor for what a host function needs of one. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from kernelwright.evaluator.ascend_source import NotModelled
from kernelwright.evaluator.toolchain import BuildError

_TOKEN = re.compile(
    r"""
    (?P<directive>^[ \t]*(?:\#|%:)(?:[^\n\\/]|\\.|/(?!/|\*)|//[^\n]*|/\*.*?(?:\*/|\Z))*)
  | (?P<space>[^\S\n]+|\n|//(?:\\\n|[^\n])*|/\*.*?(?:\*/|\Z)|\\\n)
  | (?P<raw>(?:u8|[uUL])?R"(?P<delimiter>[^()\\\s]{0,16})\(.*?(?:\)(?P=delimiter)"|\Z))
  | (?P<string>"(?:\\.|[^"\\\n])*")
  | (?P<char>'(?:\\.|[^'\\\n])+')
  | (?P<word>[A-Za-z_]\w*)
  | (?P<number>\.?\d(?:[eEpP][+-]|['\w.])*)
  | (?P<mark><<<|>>>|::|->|\+\+|--|&&|\|\||\[\[|\]\]|\.\.\.|<<|[-+*/%&|^=!<>]=|\S)
    """,
    re.VERBOSE | re.DOTALL | re.MULTILINE | re.ASCII,
)
_DEFINE = re.compile(r"\s*#\s*define\s+([A-Za-z_]\w*)(\(([^)]*)\))?(.*)", re.DOTALL)
_COMMENT = re.compile(r"//[^\n]*|/\*.*?(?:\*/|\Z)", re.DOTALL)
_MOST_TOKENS, _MOST_EXPANDED, _DEEPEST = 100_000, 200_000, 40
CLOSING = {"(": ")", "{": "}", "[": "]", "[[": "]]"}


@dataclass(frozen=True)
class Token:
    """A word, number, mark, string, char, raw string or a whole preprocessor line."""

    kind: str
    text: str
    line: int
    """In its source text, from 1."""
    start: int
    end: int
    """Places in the text; of a token that a macro gave, those of its use."""


@dataclass(frozen=True)
class Macro:
    """What a ``#define`` says; ``parameters`` None: of no call."""

    parameters: tuple[str, ...] | None
    body: tuple[Token, ...]


def tokens(text: str) -> list[Token]:
    """Every token outside comments, in order.

    Raises:
        BuildError: more tokens than a kernel has.
    """
    found: list[Token] = []
    line, last = 1, 0
    for match in _TOKEN.finditer(text):
        line += text.count("\n", last, match.start())
        last = match.start()
        kind = "raw" if match.lastgroup == "delimiter" else match.lastgroup or "mark"
        if kind == "space":
            continue
        found.append(Token(kind, match[0], line, match.start(), match.end()))
        if len(found) > _MOST_TOKENS:
            raise BuildError(f"a source of more than {_MOST_TOKENS} tokens; make it smaller")
    return found


def uncommented(text: str) -> str:
    """A preprocessor line without its comments."""
    return _COMMENT.sub(" ", text)


def macros(every: Sequence[Token]) -> dict[str, Macro]:
    """The source's own macros, by name; where one is defined twice, the last."""
    found: dict[str, Macro] = {}
    for token in every:
        if token.kind != "directive" or not (define := _DEFINE.match(uncommented(token.text))):
            continue
        parameters = None if define[2] is None else tuple(p.strip() for p in define[3].split(",") if p.strip())
        found[define[1]] = Macro(parameters, tuple(tokens("; " + define[4].replace("\\\n", " "))[1:]))
    return found


def expand(
    given: Sequence[Token], known: Mapping[str, Macro], depth: int = 0, within: frozenset[str] = frozenset()
) -> list[Token]:
    """``given`` with the source's own macros replaced; tokens get the place of their use.

    Raises:
        NotModelled: a macro that pastes tokens, or a directive inside a function.
        BuildError: a call without its end, or macros without an end.
    """
    found: list[Token] = []
    i = 0
    while i < len(given):
        token = given[i]
        i += 1
        if token.kind == "directive":
            if re.match(r"\s*#\s*pragma", token.text):
                continue
            raise missing(token.line, f"{token.text.strip():.40}", "a directive inside a host function")
        macro = known.get(token.text) if token.kind == "word" and token.text not in within else None
        if macro is None or (macro.parameters is not None and (i >= len(given) or given[i].text != "(")):
            found.append(token)
            continue
        arguments: list[list[Token]] = []
        if macro.parameters is not None:
            end = closing(given, i)
            arguments, i = split(given[i + 1 : end]), end + 1
        if depth > _DEEPEST or len(found) > _MOST_EXPANDED:
            raise BuildError(f"line {token.line}: the macro {token.text} has no end")
        body = _substituted(macro, arguments, token, known, depth, within)
        found.extend(expand(body, known, depth + 1, within | {token.text}))
    return found


def _substituted(
    macro: Macro, arguments: list[list[Token]], at: Token, known: Mapping[str, Macro], depth: int, within: frozenset[str]
) -> list[Token]:
    """The body of a macro with its parameters replaced."""
    names = list(macro.parameters or ())
    if names[-1:] == ["..."]:
        names[-1] = "__VA_ARGS__"
        rest = [token for part in arguments[len(names) - 1 :] for token in (*part, _comma(at))][:-1]
        arguments = [*arguments[: len(names) - 1], rest]
    values = dict(zip(names, arguments, strict=False))
    body: list[Token] = []
    quote = False
    for token in macro.body:
        if token.text == "#":
            if quote:
                raise missing(at.line, at.text, "a macro that pastes tokens")
            quote = True
            continue
        part = values.get(token.text) if token.kind == "word" else None
        if quote:
            text = " ".join(each.text for each in part or [token]).replace("\\", "\\\\").replace('"', '\\"')
            body.append(replace(at, kind="string", text=f'"{text}"'))
            quote = False
        elif part is not None:
            body.extend(expand(part, known, depth + 1, within))
        else:
            body.append(replace(token, line=at.line, start=at.start, end=at.end))
    return body


def _comma(at: Token) -> Token:
    return replace(at, kind="mark", text=",")


def closing(given: Sequence[Token], i: int) -> int:
    """Place of the bracket that closes the one at ``i``.

    Raises:
        BuildError: there is none.
    """
    opening, end = given[i].text, CLOSING[given[i].text]
    depth = 0
    for j in range(i, len(given)):
        if given[j].kind == "mark":
            depth += (given[j].text == opening) - (given[j].text == end)
            if depth == 0:
                return j
    raise BuildError(f"line {given[i].line}: `{opening}` without its `{end}`")


def split(given: Sequence[Token], types: bool = False) -> list[list[Token]]:
    """The parts between commas outside all brackets, with ``types`` also outside ``<…>``; none of nothing."""
    parts: list[list[Token]] = [[]]
    depth = 0
    opening, end = (*CLOSING, *"<" * types), (*CLOSING.values(), *">" * types)
    for token in given:
        if token.kind == "mark":
            depth += (token.text in opening) - (token.text in end)
        if token.text == "," and depth == 0 and token.kind == "mark":
            parts.append([])
        else:
            parts[-1].append(token)
    return parts if len(parts) > 1 or parts[0] else []


def angles(given: Sequence[Token], i: int) -> int:
    """Place of the ``>`` that closes the ``<`` at ``i``; -1 where none does before the expression ends."""
    depth = 0
    j = i
    while j < len(given):
        text = given[j].text if given[j].kind == "mark" else ""
        if text in ("(", "[", "{"):
            j = closing(given, j)
        elif text in (";", ")", "]", "}", "<<<", "&&", "||"):
            return -1
        else:
            depth += (text == "<") - (text == ">")
            if depth == 0:
                return j
        j += 1
    return -1


def words(given: Sequence[Token]) -> Iterator[str]:
    """Texts of the tokens that are words."""
    return (token.text for token in given if token.kind == "word")


def missing(line: int, name: str, what: str = "host code") -> NotModelled:
    """The error about something that is not modelled: its name, and what to do instead."""
    return NotModelled(f"line {line}: `{name}` ({what}) is not modelled for load_inline; write the kernel with load(cuda=…)")

"""A reader of C++'s expressions, as host functions have them. Executes nothing.

What it cannot read it names; it never guesses. Types and template arguments stay tokens, for the translator to look up.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from kernelwright.evaluator.inline.tokens import Token, angles, closing, missing, split
from kernelwright.evaluator.toolchain import BuildError

_BINARY = {
    "||": 1,
    "&&": 2,
    "|": 3,
    "^": 4,
    "&": 5,
    "==": 6,
    "!=": 6,
    "<": 7,
    ">": 7,
    "<=": 7,
    ">=": 7,
    "<<": 8,
    ">>": 8,
    "+": 9,
    "-": 9,
    "*": 10,
    "/": 10,
    "%": 10,
}
QUALIFIERS = frozenset({"const", "constexpr", "static", "inline", "volatile", "unsigned", "signed", "typename", "struct"})
FUNDAMENTAL = frozenset({"bool", "char", "short", "int", "long", "float", "double", "void", "auto", "unsigned", "signed"})
_CASTS = frozenset({"static_cast", "reinterpret_cast", "const_cast"})
_TEMPLATE_NAMES = """
    data_ptr data item numeric_limits min max vector optional tuple make_tuple mutable_data_ptr const_data_ptr array sizeof
"""
_TEMPLATES = frozenset(_TEMPLATE_NAMES.split())
_REFUSED_NAMES = "goto try case default typedef struct class delete new asm co_await typeid dynamic_cast operator"
REFUSED = frozenset(_REFUSED_NAMES.split())
_MOST_DEEP = 80

Tokens = tuple[Token, ...]
R = TypeVar("R", bound="ValueReader")


@dataclass(frozen=True)
class Node:
    """An expression or a statement: what it is, where it stands, what it says and what is in it."""

    kind: str
    line: int
    text: str = ""
    parts: tuple[Node, ...] = ()
    types: tuple[Tokens, ...] = ()
    """Types, or template arguments."""


class ValueReader(ABC):
    """Reads expressions from tokens.

    ``templates``: names that take template arguments; ``types``: names of types beside C++'s own and torch's.
    """

    def __init__(self, body: Sequence[Token], templates: frozenset[str], types: frozenset[str]) -> None:
        self._tokens = list(body)
        self._at = 0
        self._templates = templates | _TEMPLATES
        self._types = types
        self._depth = 0

    @abstractmethod
    def statements(self) -> tuple[Node, ...]:
        """All the statements: the body of a lambda has some."""

    def whole(self) -> Node:
        """One expression and nothing after it."""
        node = self._ternary()
        if self._at < len(self._tokens):
            raise self._unexpected()
        return node

    # -- tokens ---------------------------------------------------------------------------------------------------

    def _peek(self, ahead: int = 0) -> str:
        place = self._at + ahead
        return self._tokens[place].text if place < len(self._tokens) else ""

    @property
    def _line(self) -> int:
        return self._tokens[min(self._at, len(self._tokens) - 1)].line if self._tokens else 0

    def _next(self) -> Token:
        if self._at >= len(self._tokens):
            raise BuildError(f"line {self._line}: something is missing at the end")
        self._at += 1
        return self._tokens[self._at - 1]

    def _take(self, text: str) -> bool:
        if self._peek() != text:
            return False
        self._at += 1
        return True

    def _expect(self, text: str) -> None:
        if not self._take(text):
            raise BuildError(f"line {self._line}: expected `{text}`, found `{self._peek() or 'the end'}`")

    def _unexpected(self) -> BuildError:
        return missing(self._line, self._peek() or "the end", "in host code")

    def _inside(self) -> list[Token]:
        """The tokens of the brackets that open here; goes on after them."""
        end = closing(self._tokens, self._at)
        inner = self._tokens[self._at + 1 : end]
        self._at = end + 1
        return inner

    def _nested(self: R, given: Sequence[Token]) -> R:
        reader = type(self)(given, self._templates, self._types)
        reader._depth = self._depth + 1
        if reader._depth > _MOST_DEEP:
            raise BuildError(f"line {self._line}: brackets nested deeper than {_MOST_DEEP} levels")
        return reader

    def _list(self, given: Sequence[Token]) -> tuple[Node, ...]:
        return tuple(self._nested(part).whole() for part in split_arguments(given))

    def _type_end(self, i: int) -> int:
        """Place after the type that begins at ``i``; -1 where none does."""
        named = False
        while i < len(self._tokens):
            token = self._tokens[i]
            if token.text in QUALIFIERS or token.text in FUNDAMENTAL:
                named = named or token.text in FUNDAMENTAL
                i += 1
            elif token.kind == "word" and not named:
                i = self._path_end(i)
                named = True
            elif token.text in ("*", "&", "&&") and named:
                i += 1
            else:
                break
        return i if named else -1

    def _path_end(self, i: int) -> int:
        """Place after a name with its namespaces and template arguments."""
        while True:
            i += 1
            if i < len(self._tokens) and self._tokens[i].text == "<":
                end = angles(self._tokens, i)
                if end > 0:
                    i = end + 1
            if i + 1 < len(self._tokens) and self._tokens[i].text == "::" and self._tokens[i + 1].kind == "word":
                i += 1
                continue
            return i

    # -- expressions ----------------------------------------------------------------------------------------------

    def _ternary(self) -> Node:
        condition = self._binary(1)
        if not self._take("?"):
            return condition
        then = self._ternary()
        self._expect(":")
        return Node("ternary", condition.line, parts=(condition, then, self._ternary()))

    def _binary(self, least: int) -> Node:
        left = self._unary()
        while True:
            sign = self._sign()
            power = _BINARY.get(sign, 0)
            if power < least or not power:
                return left
            line = self._line
            self._at += 2 if sign == ">>" else 1
            left = Node("binary", line, sign, (left, self._binary(power + 1)))

    def _sign(self) -> str:
        if self._peek() == ">" and self._peek(1) == ">" and self._tokens[self._at].end == self._tokens[self._at + 1].start:
            return ">>"
        return self._peek()

    def _unary(self) -> Node:
        line, text = self._line, self._peek()
        if text in ("-", "+", "!", "~", "*", "&"):
            self._at += 1
            return Node("unary", line, text, (self._unary(),))
        if text == "(" and (cast := self._cast_type()):
            self._at = closing(self._tokens, self._at) + 1
            return Node("cast", line, "c", (self._unary(),), (cast,))
        return self._postfix(self._primary())

    def _cast_type(self) -> Tokens:
        """The type in ``(type) value``; nothing where the brackets hold a value."""
        end = closing(self._tokens, self._at)
        inner = tuple(self._tokens[self._at + 1 : end])
        after = self._tokens[end + 1] if end + 1 < len(self._tokens) else None
        if not inner or after is None or not (after.kind in ("word", "number", "string") or after.text in ("(", "-", "!", "~")):
            return ()
        texts = {token.text for token in inner}
        if inner[-1].text == "*" or texts & FUNDAMENTAL or inner[-1].text in self._types or inner[-1].text.endswith("_t"):
            return inner if self._nested(inner)._type_end(0) == len(inner) else ()
        return ()

    def _braces(self) -> Node:
        line = self._line
        return Node("braces", line, parts=self._list(self._inside()))

    def _primary(self) -> Node:
        token = self._tokens[self._at] if self._at < len(self._tokens) else None
        if token is None:
            raise BuildError(f"line {self._line}: an expression is missing")
        if token.text == "(":
            return self._nested(self._inside()).whole()
        if token.text == "{":
            return self._braces()
        if token.text == "[":
            return self._lambda()
        self._at += 1
        if token.kind in ("string", "raw"):
            while self._at < len(self._tokens) and self._tokens[self._at].kind == "string":
                token = Token("string", token.text[:-1] + self._next().text[1:], token.line, token.start, token.end)
            return Node("string", token.line, token.text)
        if token.kind in ("number", "char"):
            return Node(token.kind, token.line, token.text)
        if token.text in ("true", "false", "nullptr", "NULL"):
            return Node("number", token.line, token.text)
        if token.kind != "word" and token.text != "::":
            raise missing(token.line, token.text, "in host code")
        self._at -= token.text != "::"
        return self._name()

    def _lambda(self) -> Node:
        """``[&] { … }`` or ``[&]() { … }`` of a dispatch over types."""
        line = self._line
        self._inside()
        if self._peek() == "(" and self._inside():
            raise missing(line, "a lambda with parameters")
        if self._peek() != "{":
            raise missing(line, "a lambda")
        return Node("lambda", line, parts=self._nested(self._inside()).statements())

    def _name(self) -> Node:
        """A name with its namespaces, casts and sized types too, and template arguments where it takes any."""
        line, path = self._line, [self._next().text]
        if path[0] in REFUSED:
            raise missing(line, path[0])
        if path[0] == "sizeof":
            return Node("sizeof", line, types=(tuple(self._inside()),))
        if path[0] in _CASTS:
            end = angles(self._tokens, self._at)
            if end < 0:
                raise self._unexpected()
            kind, self._at = tuple(self._tokens[self._at + 1 : end]), end + 1
            return Node("cast", line, path[0], self._list(self._inside()), (kind,))
        while path[-1] in ("unsigned", "signed", "long", "short") and self._peek() in FUNDAMENTAL:
            path[-1] += f" {self._next().text}"
        arguments: tuple[Tokens, ...] | None = None
        while True:
            end = angles(self._tokens, self._at) if self._peek() == "<" else -1
            after = self._tokens[end + 1].text if 0 < end < len(self._tokens) - 1 else ""
            taken = ("(", "{", "<<<", "::") if path[-1] in _TEMPLATES else ("(", "{", "<<<", "::", ",", "")
            if end > 0 and path[-1] in self._templates and after in taken:
                arguments = tuple(tuple(part) for part in split(self._tokens[self._at + 1 : end], types=True))
                self._at = end + 1
            if self._peek() == "::":
                self._at += 1
                path.append(self._next().text)
                continue
            break
        types = ((), *arguments) if arguments is not None else ()
        return Node("name", line, "::".join(path), types=types)

    def _postfix(self, node: Node) -> Node:
        while True:
            line, text = self._line, self._peek()
            if text == "(":
                node = Node("call", line, parts=(node, *self._list(self._inside())))
            elif text == "<<<":
                node = self._launch(node)
            elif text in (".", "->"):
                node = self._member(node)
            elif text == "[":
                node = Node("index", line, parts=(node, self._nested(self._inside()).whole()))
            elif text == "{" and node.kind == "name" and self._names_type(node.text):
                node = Node("call", line, "braces", parts=(node, self._braces()))
            else:
                return node

    def _names_type(self, name: str) -> bool:
        return name.split("::")[-1] in self._types | {"vector", "dim3", "IntArrayRef"}

    def _member(self, node: Node) -> Node:
        line = self._line
        self._at += 1
        self._take("template")
        name = self._name()
        return Node("member", line, name.text, (node,), name.types)

    def _launch(self, node: Node) -> Node:
        """Parts: the kernel, its configuration in one node, its arguments."""
        line, start = self._line, self._at
        end = next((i for i in range(start, len(self._tokens)) if self._tokens[i].text == ">>>"), -1)
        if end < 0:
            raise BuildError(f"line {line}: `<<<` without its `>>>`")
        configuration = Node("configuration", line, parts=self._list(self._tokens[start + 1 : end]))
        self._at = end + 1
        return Node("launch", line, parts=(node, configuration, *self._list(self._inside())))


def split_arguments(given: Sequence[Token]) -> list[list[Token]]:
    """The arguments of a call: commas in the template arguments of a launch or a cast separate none."""
    parts = split(given)
    joined: list[list[Token]] = []
    for part in parts:
        previous = joined[-1] if joined else []
        opened = next((i for i, token in enumerate(previous) if token.text == "<" and angles(previous, i) < 0), None)
        if opened is not None and opened and previous[opened - 1].kind == "word" and _closes(part):
            joined[-1] = [*previous, Token("mark", ",", part[0].line, part[0].start, part[0].start), *part]
        else:
            joined.append(list(part))
    return joined


def _closes(part: Sequence[Token]) -> bool:
    """Whether a part closes an angle bracket that an earlier one opened, and what follows makes it a template's."""
    depth = 0
    for i, token in enumerate(part):
        depth += (token.text == "<") - (token.text == ">")
        if depth < 0:
            return i + 1 < len(part) and part[i + 1].text in ("(", "<<<", "::", "{")
    return False

"""A reader of what host functions are written in: the expressions and statements of C++ that launch kernels. Executes nothing.

What it cannot read it names; it never guesses. Types and template arguments stay tokens, for the translator to look up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
_ASSIGN = frozenset({"=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^="})
_QUALIFIERS = frozenset({"const", "constexpr", "static", "inline", "volatile", "unsigned", "signed", "typename", "struct"})
_FUNDAMENTAL = frozenset({"bool", "char", "short", "int", "long", "float", "double", "void", "auto", "unsigned", "signed"})
_CASTS = frozenset({"static_cast", "reinterpret_cast", "const_cast"})
_TEMPLATES = frozenset(
    "data_ptr data item numeric_limits min max vector optional tuple make_tuple mutable_data_ptr const_data_ptr array sizeof".split()
)
_REFUSED = frozenset("do goto try case default typedef struct class delete new asm co_await typeid dynamic_cast operator".split())
_MOST_DEEP = 80

Tokens = tuple[Token, ...]


@dataclass(frozen=True)
class Node:
    """An expression or a statement: what it is, where it stands, what it says and what is in it."""

    kind: str
    line: int
    text: str = ""
    parts: tuple[Node, ...] = ()
    types: tuple[Tokens, ...] = ()
    """Types, or template arguments."""


class Reader:
    """Reads the body of one function.

    ``templates``: names that take template arguments; ``types``: names of types beside C++'s own and torch's.
    """

    def __init__(self, body: Sequence[Token], templates: frozenset[str], types: frozenset[str]) -> None:
        self._tokens = list(body)
        self._at = 0
        self._templates = templates | _TEMPLATES
        self._types = types
        self._depth = 0

    def statements(self) -> tuple[Node, ...]:
        """All of them.

        Raises:
            BuildError: what no C++ is. NotModelled: what is not read, with its name.
        """
        found: list[Node] = []
        while self._at < len(self._tokens):
            found.extend(self._statement())
        return tuple(found)

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

    def _nested(self, given: Sequence[Token]) -> Reader:
        reader = Reader(given, self._templates, self._types)
        reader._depth = self._depth + 1
        if reader._depth > _MOST_DEEP:
            raise BuildError(f"line {self._line}: brackets nested deeper than {_MOST_DEEP} levels")
        return reader

    def _list(self, given: Sequence[Token]) -> tuple[Node, ...]:
        return tuple(self._nested(part).whole() for part in split_arguments(given))

    # -- statements -----------------------------------------------------------------------------------------------

    def _statement(self) -> Sequence[Node]:
        line, word = self._line, self._peek()
        known: dict[str, Callable[[], Sequence[Node]]] = {
            "if": self._if,
            "for": self._for,
            "while": self._while,
            "switch": self._switch,
            "return": self._return,
            "throw": self._throw,
            "using": self._using,
        }
        if word in known:
            self._at += 1
            return known[word]()
        if word == "{":
            return [Node("block", line, parts=self._nested(self._inside()).statements())]
        if word == ";":
            self._at += 1
            return []
        if word in ("break", "continue"):
            self._at += 1
            self._expect(";")
            return [Node(word, line)]
        if word in _REFUSED:
            raise missing(line, word)
        return self._declaration() or [self._simple(";")]

    def _body(self) -> Node:
        """What an ``if`` or a loop governs."""
        line = self._line
        return Node("block", line, parts=tuple(self._statement()))

    def _if(self) -> Sequence[Node]:
        line = self._line
        self._take("constexpr")
        condition = self._nested(self._inside()).whole()
        then = self._body()
        parts = (condition, then, self._body()) if self._take("else") else (condition, then)
        return [Node("if", line, parts=parts)]

    def _while(self) -> Sequence[Node]:
        line = self._line
        condition = self._nested(self._inside()).whole()
        return [Node("for", line, parts=(Node("block", line), condition, Node("block", line), self._body()))]

    def _for(self) -> Sequence[Node]:
        line = self._line
        inner = self._nested(self._inside())
        if not any(token.text == ";" for token in inner._tokens):
            raise missing(line, "for (… : …)")
        first = Node("block", line, parts=tuple(inner._statement()))
        condition = inner._ternary() if inner._peek() != ";" else Node("number", line, "true")
        inner._expect(";")
        steps = []
        while inner._peek():
            steps.append(inner._simple(","))
        return [Node("for", line, parts=(first, condition, Node("block", line, parts=tuple(steps)), self._body()))]

    def _switch(self) -> Sequence[Node]:
        """Parts: what is asked, then for each ``case`` a node of its values (none: ``default``) and its statements."""
        line = self._line
        asked = self._nested(self._inside()).whole()
        inner = self._nested(self._inside())
        cases: list[Node] = []
        while inner._peek():
            values = inner._labels()
            body: list[Node] = []
            while inner._peek() and inner._peek() not in ("case", "default"):
                body.extend(inner._statement())
            cases.append(Node("case", line, parts=(Node("values", line, parts=values), Node("block", line, parts=tuple(body)))))
        return [Node("switch", line, parts=(asked, *cases))]

    def _labels(self) -> tuple[Node, ...]:
        values: list[Node] = []
        default = False
        while self._peek() in ("case", "default"):
            if self._next().text == "case":
                end = next((i for i in range(self._at, len(self._tokens)) if self._tokens[i].text == ":"), self._at)
                values.append(self._nested(self._tokens[self._at : end]).whole())
                self._at = end
            else:
                default = True
            self._expect(":")
        if not (values or default):
            raise self._unexpected()
        return () if default else tuple(values)

    def _return(self) -> Sequence[Node]:
        line = self._line
        if self._take(";"):
            return [Node("return", line)]
        value = self._braces() if self._peek() == "{" else self._ternary()
        self._expect(";")
        return [Node("return", line, parts=(value,))]

    def _throw(self) -> Sequence[Node]:
        line = self._line
        thrown = self._ternary()
        self._expect(";")
        return [Node("throw", line, parts=thrown.parts)]

    def _using(self) -> Sequence[Node]:
        line, end = self._line, self._at
        while self._tokens[end : end + 1] and self._tokens[end].text != ";":
            end += 1
        given, self._at = self._tokens[self._at : end], end + 1
        if len(given) > 2 and given[1].text == "=":
            self._types |= {given[0].text}
            return [Node("alias", line, given[0].text, types=(tuple(given[2:]),))]
        return []  # using namespace: names are looked up without it

    def _declaration(self) -> Sequence[Node]:
        """Variables; nothing when the statement declares none."""
        start = self._at
        end = self._type_end(start)
        if end < 0 or end >= len(self._tokens) or self._tokens[end].kind != "word":
            return []
        if (self._tokens[end + 1].text if end + 1 < len(self._tokens) else ";") not in ("=", ";", "(", "{", ",", "["):
            return []
        kind, self._at = tuple(self._tokens[start:end]), end
        found = [self._declarator(kind)]
        while self._take(","):
            found.append(self._declarator(kind))
        self._expect(";")
        return found

    def _declarator(self, kind: Tokens) -> Node:
        line = self._line
        while self._peek() in ("*", "&"):
            kind = (*kind, self._next())
        name = self._next()
        if self._take("="):
            value = (self._braces() if self._peek() == "{" else self._ternary(),)
            return Node("declare", line, name.text, value, (kind,))
        if self._peek() == "(":
            return Node("construct", line, name.text, self._list(self._inside()), (kind,))
        if self._peek() == "{":
            return Node("construct", line, name.text, self._list(self._inside()), (kind,))
        if self._peek() == "[":
            raise missing(line, f"{name.text}[]", "an array in host code")
        return Node("declare", line, name.text, (), (kind,))

    def _type_end(self, i: int) -> int:
        """Place after the type that begins at ``i``; -1 where none does."""
        named = False
        while i < len(self._tokens):
            token = self._tokens[i]
            if token.text in _QUALIFIERS or token.text in _FUNDAMENTAL:
                named = named or token.text in _FUNDAMENTAL
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

    def _simple(self, end: str) -> Node:
        """An expression, an assignment or a step; a ``,`` or nothing ends one of a ``for``."""
        line = self._line
        if self._peek() in ("++", "--"):
            sign = self._next().text
            target = self._unary()
            node = Node("assign", line, f"{sign[0]}=", (target, Node("number", line, "1")))
        else:
            target = self._ternary()
            if self._peek() in ("++", "--"):
                node = Node("assign", line, f"{self._next().text[0]}=", (target, Node("number", line, "1")))
            elif self._peek() in _ASSIGN:
                sign = self._next().text
                node = Node("assign", line, sign, (target, self._braces() if self._peek() == "{" else self._ternary()))
            else:
                node = Node("expression", line, parts=(target,))
        if end == ";" or self._peek():
            self._expect(end)
        return node

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
        if inner[-1].text == "*" or texts & _FUNDAMENTAL or inner[-1].text in self._types or inner[-1].text.endswith("_t"):
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
        if token.text == "sizeof":
            return Node("sizeof", token.line, types=(tuple(self._inside()),))
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
        if path[0] in _REFUSED:
            raise missing(line, path[0])
        if path[0] in _CASTS:
            end = angles(self._tokens, self._at)
            if end < 0:
                raise self._unexpected()
            kind, self._at = tuple(self._tokens[self._at + 1 : end]), end + 1
            return Node("cast", line, path[0], self._list(self._inside()), (kind,))
        while path[-1] in ("unsigned", "signed", "long", "short") and self._peek() in _FUNDAMENTAL:
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

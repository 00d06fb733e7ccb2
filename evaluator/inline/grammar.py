"""A reader of the body of a host function: its statements. Executes nothing; what it cannot read it names."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kernelwright.evaluator.inline.tokens import missing
from kernelwright.evaluator.inline.values import REFUSED, Node, Tokens, ValueReader

_ASSIGN = frozenset({"=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^="})


class Reader(ValueReader):
    """Reads the body of one function."""

    def statements(self) -> tuple[Node, ...]:
        """All of them.

        Raises:
            BuildError: what no C++ is. NotModelled: what is not read, with its name.
        """
        found: list[Node] = []
        while self._at < len(self._tokens):
            found.extend(self._statement())
        return tuple(found)

    def _statement(self) -> Sequence[Node]:
        line, word = self._line, self._peek()
        known: dict[str, Callable[[], Sequence[Node]]] = {
            "if": self._if,
            "for": self._for,
            "while": self._while,
            "do": self._once,
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
        if word in REFUSED:
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

    def _once(self) -> Sequence[Node]:
        """``do … while (0)``, as macros are written: a block."""
        body = self._body()
        line = self._line
        self._expect("while")
        if [token.text for token in self._inside()] not in (["0"], ["false"]):
            raise missing(line, "do", "a loop but for one that runs once")
        self._expect(";")
        return [body]

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

"""Statements of host functions, and the functions that they make up, in Python."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from kernelwright.evaluator.inline import api
from kernelwright.evaluator.inline.arithmetic import arithmetic
from kernelwright.evaluator.inline.calls import constructed
from kernelwright.evaluator.inline.expressions import Expressions
from kernelwright.evaluator.inline.kinds import BOOL, CXX, DTYPE, TENSOR, TEXT, VOID, Type, common, is_int, is_number
from kernelwright.evaluator.inline.parts import HostFunction
from kernelwright.evaluator.inline.tokens import Token, expand, missing
from kernelwright.evaluator.inline.translate import Scope, Signature, Translation, Value, Variable
from kernelwright.evaluator.inline.values import Node
from kernelwright.evaluator.toolchain import BuildError

_CHECKS = frozenset({"TORCH_CHECK", "AT_ASSERTM", "TORCH_INTERNAL_ASSERT", "AT_ASSERT", "assert", "TORCH_CHECK_VALUE"})
_FAILURES = frozenset({"AT_ERROR", "TORCH_ERROR"})
_PRINTED = frozenset({"printf", "fprintf", "puts", "fputs", "fflush", "TORCH_WARN"})
_MOST_LINES = 20_000


class Body:
    """One host function with its template arguments, in Python."""

    def __init__(self, translation: Translation, function: HostFunction, given: Scope) -> None:
        self._function = function
        self._scopes = [given]
        self._here = Expressions(translation, function, self._scopes)
        self._translation = translation
        self._lines: list[str] = []
        self._indent = 1
        self._names = itertools.count()
        self._steps: list[Node | None] = []
        """Of each loop, and of each ``switch`` (None) that is being translated."""
        self._in_lambda = False
        known = translation.parts.macros
        self._result = self._here.type(expand(function.result, known))
        self._types: list[Type] = []
        self._defaults: list[str | None] = []
        self._parameters: list[str] = []
        with self._scope():
            for parameter in function.parameters:
                self._parameter(expand(parameter, known))
        self._given = self._last

    # -- the function ---------------------------------------------------------------------------------------------

    def signature(self, python: str) -> Signature:
        required = sum(default is None for default in self._defaults)
        return Signature(python, tuple(self._types), required, self._result)

    def text(self, python: str) -> str:
        """The function in Python, called ``python``."""
        with self._scope():
            self._scopes[-1].variables.update(self._given.variables)
            for node in self._translation.reader(self._function.body, self._type_names()).statements():
                self._statement(node)
        parameters = ", ".join(
            name if default is None else f"{name}={default}"
            for name, default in zip(self._parameters, self._defaults, strict=True)
        )
        return "\n".join([f"def {python}({parameters}):", *self._lines, "    return None", ""])

    def _type_names(self) -> frozenset[str]:
        return frozenset(name for scope in self._scopes for name in scope.types)

    def _parameter(self, parameter: Sequence[Token]) -> None:
        texts = [token.text for token in parameter]
        at = texts.index("=") if "=" in texts else len(texts)
        if at == 0 or parameter[at - 1].kind != "word":
            raise missing(self._function.line, " ".join(texts), f"a parameter of {self._function.name}()")
        unnamed = texts[at - 1] in ("int", "float", "double", "bool", "long", "Tensor", "int64_t")
        declared, name = (parameter[:at], f"unnamed{len(self._types)}") if unnamed else (parameter[: at - 1], texts[at - 1])
        kind = self._here.type(declared)
        default = self._translation.reader(parameter[at + 1 :]).whole() if at < len(texts) else None
        self._types.append(kind)
        self._defaults.append(None if default is None else self._here.python(default, kind))
        fixed = "&" in texts[:at] or ("const" in texts[:at] and kind.kind != "pointer")
        python = self._declare(name, kind, fixed)
        self._parameters.append(python)
        if kind.kind == "list" and "&" not in texts[:at]:
            self._say(f"{python} = list({python})")

    # -- what is written ------------------------------------------------------------------------------------------

    def _say(self, line: str) -> None:
        if len(self._lines) > _MOST_LINES:
            raise BuildError(f"line {self._function.line}: {self._function.name}() becomes too long")
        self._lines.append("    " * self._indent + line)

    @contextmanager
    def _scope(self) -> Iterator[None]:
        self._scopes.append(Scope())
        yield
        self._last = self._scopes.pop()

    @contextmanager
    def _block(self, line: str) -> Iterator[None]:
        self._say(line)
        self._indent += 1
        with self._scope():
            yield
        self._say("pass")
        self._indent -= 1

    def _declare(self, name: str, kind: Type, fixed: bool) -> str:
        python = f"v{next(self._names)}_{name}"
        self._scopes[-1].variables[name] = Variable(Value(python, kind), fixed)
        return python

    # -- statements -----------------------------------------------------------------------------------------------

    def _statement(self, node: Node) -> None:
        known: dict[str, Callable[[Node], None]] = {
            "block": self._nested,
            "declare": self._declared,
            "construct": self._made,
            "assign": self._assigned,
            "expression": self._expression,
            "if": self._if,
            "for": self._for,
            "switch": self._switch,
            "break": self._leave,
            "continue": self._leave,
            "return": self._return,
            "throw": self._throw,
            "alias": self._alias,
        }
        known[node.kind](node)

    def _nested(self, node: Node) -> None:
        with self._scope():
            for part in node.parts:
                self._statement(part)

    def _alias(self, node: Node) -> None:
        self._scopes[-1].types[node.text] = self._here.type(node.types[0])

    def _declared(self, node: Node) -> None:
        texts = [token.text for token in node.types[0]]
        constant = "const" in texts or "constexpr" in texts
        if "static" in texts and not constant:
            raise missing(node.line, f"static {node.text}", "a variable that outlives its call")
        kind = self._here.type(node.types[0])
        constant = constant and kind.kind != "pointer"  # of which it says that nothing is written through it
        if "&" in texts and node.parts and node.parts[0].kind == "name":
            raise missing(node.line, f"& {node.text}", "a reference to a variable")
        if not node.parts:
            self._say(f"{self._declare(node.text, kind, fixed=False)} = {'[]' if kind.kind == 'list' else None}")
            return
        if kind.kind == "list" and node.parts[0].kind == "braces":
            value = constructed(self._here, node, kind, node.parts)
        else:
            value = self._here.converted(self._here.value(node.parts[0]), kind, node.line)
        self._bind(node.text, value, fixed=constant or ("&" in texts and value.type.kind != "list"), constant=constant)

    def _bind(self, name: str, value: Value, fixed: bool, constant: bool) -> None:
        if constant and value.constant is not None:
            self._scopes[-1].variables[name] = Variable(value, fixed=True)
            return
        code = f"list({value.python})" if value.type.kind == "list" else value.python
        if value.type == VOID:
            raise missing(self._function.line, name, "a variable of a call that gives nothing")
        self._say(f"{self._declare(name, value.type, fixed)} = {code}")

    def _made(self, node: Node) -> None:
        value = constructed(self._here, node, self._here.type(node.types[0]), node.parts)
        texts = {token.text for token in node.types[0]}
        if "static" in texts:
            raise missing(node.line, f"static {node.text}", "a variable that outlives its call")
        self._bind(node.text, value, fixed="const" in texts, constant=bool({"const", "constexpr"} & texts))

    def _assigned(self, node: Node) -> None:
        target, given = node.parts
        if target.kind == "index" and target.parts[0].kind == "name":
            self._assigned_element(node, target, given)
            return
        found = self._here.variable(target.text) if target.kind == "name" else None
        if found is None or found.fixed:
            what = "to what is constant or a reference" if found else "to something else than a variable"
            said = {"index": "[]", "member": f".{target.text}"}.get(target.kind, target.text or target.kind)
            raise missing(node.line, f"{said} {node.text}", f"an assignment {what}")
        kind = found.value.type
        value = self._here.value(given)
        if node.text != "=":
            value = self._operated(node, found.value, value)
        code = self._here.converted(value, kind, node.line).python
        self._say(f"{found.value.python} = {f'list({code})' if kind.kind == 'list' else code}")

    def _operated(self, node: Node, left: Value, right: Value) -> Value:
        """What ``a += b`` assigns."""
        sign = node.text[:-1]
        if left.type == TENSOR and sign in "+-*/":
            raise missing(node.line, node.text, "of a tensor; use .add_() and the like")
        if left.type.kind == "pointer" and sign in "+-" and is_int(right.type):
            step = self._here.size(left.type.of.removeprefix("const "), node.line)
            return Value(f"_k.moved({left.python}, {'-' * (sign == '-')}({right.python}) * {step})", left.type)
        if left.type == right.type == TEXT and sign == "+":
            return Value(f"({left.python} + {right.python})", TEXT)
        if not (is_number(left.type) and is_number(right.type)):
            raise missing(node.line, node.text, f"of {left.type} and {right.type}")
        kind = common(left.type, right.type)
        a, b = (self._here.converted(side, kind, node.line) for side in (left, right))
        return arithmetic(sign, replace(a, constant=None), b, kind, node.line)

    def _assigned_element(self, node: Node, target: Node, given: Node) -> None:
        base = self._here.value(target.parts[0])
        variable = self._here.variable(target.parts[0].text)
        if base.type.kind != "list" or variable is None or variable.fixed or node.text != "=":
            raise missing(node.line, f"{target.parts[0].text}[…] {node.text}", "an assignment to an element")
        place = self._here.python(target.parts[1], Type("int64"))
        value = self._here.python(given, Type(base.type.of))
        self._say(f"{base.python}[_k.place({place}, {base.python})] = {value}")

    def _expression(self, node: Node) -> None:
        (part,) = node.parts
        name = part.parts[0].text if part.kind == "call" and part.parts[0].kind == "name" else ""
        if name in _CHECKS or name in _FAILURES:
            self._check(part, name)
        elif name.startswith("AT_DISPATCH_"):
            self._dispatch(part, name.removeprefix("AT_DISPATCH_"))
        elif name.removeprefix("std::") in ("exit", "abort"):
            self._say(f"_k.fail('the host function ends the process at line {part.line}')")
        elif name.removeprefix("std::") in _PRINTED or _prints(part):
            return  # nobody reads it
        else:
            self._say(self._here.value(part).python)

    def _check(self, call: Node, name: str) -> None:
        given = call.parts[1:]
        if name in _CHECKS:
            if not given:
                raise BuildError(f"line {call.line}: {name} without a condition")
            condition = self._here.python(given[0], BOOL)
            given = given[1:]
            self._say(f"if not {condition}:")
        else:
            self._say("if True:")
        parts = [self._here.value(part).python for part in given] or [repr(f"{name} failed at line {call.line}")]
        self._say(f"    _k.fail({', '.join(parts)})")

    def _throw(self, node: Node) -> None:
        parts = [self._here.value(part).python for part in node.parts[1:]]
        self._say(f"_k.fail({', '.join(parts) or repr('thrown')})")

    def _dispatch(self, call: Node, name: str) -> None:
        """``AT_DISPATCH_…(types…, type, "name", [&] { … })``: the body once for each type."""
        family, _, more = name.partition("_AND")
        known = {"": 1, "_HALF": 0, "2": 2, "3": 3, "4": 4}
        extra = known.get(more, -1) if "_AND" in name else 0
        given = call.parts[1:]
        if family not in api.DISPATCHED or extra < 0 or len(given) != extra + 3 or given[-1].kind != "lambda":
            raise missing(call.line, f"AT_DISPATCH_{name}", "a dispatch over types")
        kinds = [*api.DISPATCHED[family], *(["float16"] if more == "_HALF" else [])]
        kinds += [self._here.python(part, DTYPE).removeprefix("torch.") for part in given[:extra]]
        if not set(kinds) <= set(CXX):
            raise missing(call.line, f"AT_DISPATCH_{name}", "with a type that is no constant")
        asked = f"v{next(self._names)}_dtype"
        self._say(f"{asked} = {self._here.python(given[extra], DTYPE)}")
        label = self._here.python(given[extra + 1], TEXT)
        outer, self._in_lambda = self._in_lambda, True
        for i, kind in enumerate(kinds):
            with self._block(f"{'elif' if i else 'if'} {asked} is torch.{kind}:"):
                self._scopes[-1].types["index_t" if family == "INDEX_TYPES" else "scalar_t"] = Type(kind)
                for part in given[-1].parts:
                    self._statement(part)
        self._in_lambda = outer
        with self._block("else:"):
            self._say(f'_k.fail({label}, " not implemented for ", {asked})')

    def _if(self, node: Node) -> None:
        with self._block(f"if {self._here.python(node.parts[0], BOOL)}:"):
            self._statement(node.parts[1])
        if len(node.parts) > 2:
            with self._block("else:"):
                self._statement(node.parts[2])

    def _for(self, node: Node) -> None:
        first, condition, step, body = node.parts
        with self._scope():
            for part in first.parts:
                self._statement(part)
            with self._block(f"while {self._here.python(condition, BOOL)}:"):
                self._steps.append(step)
                self._statement(body)
                self._steps.pop()
                for part in step.parts:
                    self._statement(part)

    def _leave(self, node: Node) -> None:
        if not self._steps:
            raise missing(node.line, node.kind, "outside a loop")
        step = self._steps[-1]
        if step is None:
            raise missing(node.line, node.kind, "inside a switch, but for the break that ends a case")
        if node.kind == "continue":
            for part in step.parts:
                self._statement(part)
        self._say(node.kind)

    def _switch(self, node: Node) -> None:
        asked, *cases = node.parts
        value = self._here.value(asked)
        name = f"v{next(self._names)}_case"
        self._say(f"{name} = {value.python}")
        word, default = "if", None
        for i, case in enumerate(cases):
            values, body = case.parts
            if not values.parts:
                default = body
                if i != len(cases) - 1:
                    raise missing(case.line, "default", "that is not the last of a switch")
                continue
            codes = [self._here.python(part, value.type) for part in values.parts]
            self._case(f"{word} {name} in ({''.join(f'{code}, ' for code in codes)}):", body, last=i == len(cases) - 1)
            word = "elif"
        if default is not None:
            self._case("else:" if word == "elif" else "if True:", default, last=True)

    def _case(self, line: str, body: Node, last: bool) -> None:
        parts = list(body.parts)
        if len(parts) == 1 and parts[0].kind == "block":
            parts = list(parts[0].parts)
        ends = bool(parts) and parts[-1].kind in ("break", "return", "throw")
        if not (ends or last):
            raise missing(body.line, "case", "that falls through to the next")
        if parts and parts[-1].kind == "break":
            parts.pop()
        self._steps.append(None)
        with self._block(line):
            for part in parts:
                self._statement(part)
        self._steps.pop()

    def _return(self, node: Node) -> None:
        if self._in_lambda:
            raise missing(node.line, "return", "inside the lambda of a dispatch")
        if not node.parts:
            self._say("return None")
            return
        (part,) = node.parts
        if part.kind == "braces" and self._result.kind in ("list", "tuple"):
            codes = [
                self._here.python(each, TENSOR if self._result.kind == "tuple" else Type(self._result.of))
                for each in part.parts
            ]
            brackets = "()" if self._result.kind == "tuple" else "[]"
            self._say(f"return {brackets[0]}{''.join(f'{code}, ' for code in codes)}{brackets[1]}")
            return
        self._say(f"return {self._here.python(part, self._result)}")


def _prints(node: Node) -> bool:
    """Whether an expression writes to ``std::cout`` or ``std::cerr``."""
    while node.kind == "binary" and node.text == "<<":
        node = node.parts[0]
    return node.kind == "name" and node.text.removeprefix("std::") in ("cout", "cerr")

"""Expressions of host functions: each kind of node has one method, which gives Python and a type."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from kernelwright.evaluator.inline import api, cxx
from kernelwright.evaluator.inline.arithmetic import arithmetic
from kernelwright.evaluator.inline.calls import called, signature
from kernelwright.evaluator.inline.kinds import (
    BITS,
    BOOL,
    DIM3,
    DOUBLE,
    FLOAT,
    FLOATS,
    INT,
    NULL,
    SIZE,
    STREAM,
    TENSOR,
    TEXT,
    UNSIGNED,
    VOID,
    Type,
    common,
    is_int,
    is_number,
    promoted,
    spelled,
)
from kernelwright.evaluator.inline.launches import Argument
from kernelwright.evaluator.inline.parts import HostFunction, Kernel
from kernelwright.evaluator.inline.tokens import Token, missing
from kernelwright.evaluator.inline.translate import Scope, Translation, Value, Variable, python_of
from kernelwright.evaluator.inline.values import Node, Tokens
from kernelwright.evaluator.toolchain import BuildError

_NUMBER = re.compile(r"(?i)(0x[\da-f']+|0b[01']+|[\d']+)(u?l{0,2}u?)")
_FLOATING = re.compile(r"(?i)([\d']*\.?[\d']*(?:e[+-]?\d+)?)(f?)l?")
_ARITHMETIC = frozenset("+-*/%")
_LIBRARIES = ("cublas", "cudnn", "cusparse", "cusolver", "cufft", "curand", "thrust", "cutlass", "nccl", "cub", "cutensor")


class Expressions:
    """Translates expressions in a stack of scopes; ``function`` is the one that they stand in."""

    def __init__(self, translation: Translation, function: HostFunction | None, scopes: list[Scope]) -> None:
        self.translation = translation
        self.function = function
        self.scopes = scopes

    # -- names ----------------------------------------------------------------------------------------------------

    def variable(self, name: str) -> Variable | None:
        """What a name stands for, in the innermost scope that has it, or outside functions."""
        for scope in reversed(self.scopes):
            if name in scope.variables:
                return scope.variables[name]
        return self.translation.constant(name)

    def named_type(self, name: str) -> Type | None:
        for scope in reversed(self.scopes):
            if name in scope.types:
                return scope.types[name]
        return self.translation.alias(name)

    def type(self, given: Sequence[Token]) -> Type:
        """The type that tokens spell here."""
        return spelled(given, self.named_type)

    def converted(self, value: Value, want: Type, line: int) -> Value:
        return python_of(value, want, line)

    # -- expressions ----------------------------------------------------------------------------------------------

    def value(self, node: Node) -> Value:
        """Python and type of an expression."""
        known: dict[str, Callable[[Node], Value]] = {
            "number": self._number,
            "char": lambda node: Value(str(ord(node.text[1])), Type("int8")),
            "string": lambda node: Value(_text(node), TEXT),
            "name": self._name,
            "unary": self._unary,
            "binary": self._binary,
            "ternary": self._ternary,
            "cast": self._cast,
            "call": self._call,
            "member": self._member,
            "index": self._index,
            "launch": self._launch,
            "sizeof": self._sizeof,
            "braces": self._braces,
        }
        if node.kind not in known:
            raise missing(node.line, node.kind, "in host code")
        return known[node.kind](node)

    def python(self, node: Node, want: Type) -> str:
        """Python of an expression as a value of ``want``."""
        return self.converted(self.value(node), want, node.line).python

    def _number(self, node: Node) -> Value:
        text = node.text
        if text in ("nullptr", "NULL"):
            return Value("None", NULL)
        if text in ("true", "false"):
            return Value(text.capitalize(), BOOL, int(text == "true"))
        if whole := _NUMBER.fullmatch(text):
            digits, suffix = whole[1].replace("'", ""), whole[2].lower()
            octal = len(digits) > 1 and digits[0] == "0" and digits.isdigit()
            number = int(digits, 8) if octal else int(digits, 0)
            wide = "l" in suffix or number >= 1 << (32 if "u" in suffix else 31)
            kind = ("u" if "u" in suffix else "") + ("int64" if wide else "int32")
            return Value(str(number), Type(kind), number)
        floating = _FLOATING.fullmatch(text)
        if floating is None:
            raise missing(node.line, text, "a number")
        number_ = float(floating[1].replace("'", ""))
        single = bool(floating[2])
        return Value(repr(cxx.float32(number_) if single else number_), FLOAT if single else DOUBLE)

    def _name(self, node: Node) -> Value:
        name, last = node.text, node.text.split("::")[-1]
        if "::" not in name and (found := self.variable(name)) is not None:
            return found.value
        if name in api.NUMBERS:
            kind, python = api.NUMBERS[name]
            constant = int(python) if kind.startswith("int") else None
            return Value(python, Type(kind), constant)
        if last in api.NAMED and ("::" in name or last == "cudaSuccess"):
            kind, python = api.NAMED[last]
            return Value(python, Type(kind))
        raise self.undefined(node, name)

    def undefined(self, node: Node, name: str) -> BuildError:
        """The error about a name that stands for nothing here."""
        if name.split("::")[0].lower().startswith(_LIBRARIES):
            return missing(node.line, name, "a library's work in host code")
        known = "::" in name or name.isupper() or name.startswith(("cuda", "cu", "AT_", "C10_", "TORCH_"))
        if known or sum(len(re.findall(rf"\b{name}\b", text)) for text in self.translation.parts.texts.values()) > 1:
            return missing(node.line, name, "in host code")
        return BuildError(f'line {node.line}: identifier "{name}" is undefined')

    def _unary(self, node: Node) -> Value:
        (part,), sign = node.parts, node.text
        found = self.value(part)
        if sign == "!":
            return Value(f"(not {self.converted(found, BOOL, node.line).python})", BOOL)
        if sign == "*" and found.type.kind == "optional":
            return Value(f"_k.value({found.python})", TENSOR)
        if sign == "~" and is_int(found.type):
            kind = promoted(found.type)
            ones = (1 << BITS[kind.kind]) - 1 if kind.kind.startswith("u") else -1
            return arithmetic("^", Value(str(ones), kind, ones), self.converted(found, kind, node.line), kind, node.line)
        if sign in ("*", "&", "~") or not (is_number(found.type) or (found.type == TENSOR and sign == "-")):
            raise missing(node.line, sign, f"of {found.type}")
        kind = promoted(found.type)
        if sign == "+" or kind == TENSOR:
            return Value(f"({sign}{found.python})", kind, found.constant)
        zero = Value("0", kind, 0) if is_int(kind) else None
        return arithmetic("-", zero, found, kind, node.line) if zero else Value(f"(-{found.python})", kind)

    def _binary(self, node: Node) -> Value:
        sign = node.text
        left, right = map(self.value, node.parts)
        if sign in ("&&", "||"):
            word = "and" if sign == "&&" else "or"
            sides = [self.converted(side, BOOL, node.line).python for side in (left, right)]
            return Value(f"({sides[0]} {word} {sides[1]})", BOOL)
        if left.type.kind == "iterator" and sign in "+-" and is_int(right.type):
            return Value(f"({left.python} {sign} {right.python})", left.type)
        if "pointer" in (left.type.kind, right.type.kind) and sign in "+-":
            return self._moved(node, left, right)
        if sign in ("==", "!=", "<", ">", "<=", ">="):
            return self._compared(node, left, right)
        kinds = {left.type.kind, right.type.kind}
        if TENSOR in (left.type, right.type) and sign in "+-*/" and all(k == "tensor" or is_number(Type(k)) for k in kinds):
            return Value(f"({left.python} {sign} {right.python})", TENSOR)
        if left.type == right.type == TEXT and sign == "+":
            return Value(f"({left.python} + {right.python})", TEXT)
        if not (is_number(left.type) and is_number(right.type)):
            raise missing(node.line, sign, f"of {left.type} and {right.type}")
        kind = promoted(left.type) if sign in ("<<", ">>") else common(left.type, right.type)
        if sign not in ("<<", ">>"):
            left, right = (self.converted(side, kind, node.line) for side in (left, right))
        return arithmetic(sign, left, right, kind, node.line)

    def _moved(self, node: Node, left: Value, right: Value) -> Value:
        place, distance = (left, right) if left.type.kind == "pointer" else (right, left)
        if not is_int(distance.type) or (node.text == "-" and place is right):
            raise missing(node.line, node.text, f"of {left.type} and {right.type}")
        step = self.size(place.type.of.removeprefix("const "), node.line)
        return Value(f"_k.moved({place.python}, {'-' * (node.text == '-')}({distance.python}) * {step})", place.type)

    def _compared(self, node: Node, left: Value, right: Value) -> Value:
        sign = node.text
        if is_number(left.type) and is_number(right.type):
            kind = common(left.type, right.type)
            a, b = (self.converted(side, kind, node.line) for side in (left, right))
            return Value(f"({a.python} {sign} {b.python})", BOOL)
        kinds = {left.type.kind, right.type.kind}
        if sign not in ("==", "!="):
            raise missing(node.line, sign, f"of {left.type} and {right.type}")
        if kinds in ({"pointer", "null"}, {"optional", "null"}):
            some = right if left.type == NULL else left
            return Value(f"({some.python} is {'not ' * (sign == '!=')}None)", BOOL)
        if kinds == {"tensortype", "dtype"}:
            sides = [self.converted(side, Type("dtype"), node.line).python for side in (left, right)]
            return Value(f"({sides[0]} {sign} {sides[1]})", BOOL)
        if len(kinds) == 1 and kinds <= {"dtype", "error", "text", "list"}:
            return (
                Value(f"(tuple({left.python}) {sign} tuple({right.python}))", BOOL)
                if kinds == {"list"}
                else Value(f"({left.python} {sign} {right.python})", BOOL)
            )
        if kinds == {"device"}:
            return Value(f"({'not ' * (sign == '!=')}_k.same_device({left.python}, {right.python}))", BOOL)
        raise missing(node.line, sign, f"of {left.type} and {right.type}")

    def _ternary(self, node: Node) -> Value:
        condition = self.python(node.parts[0], BOOL)
        then, other = self.value(node.parts[1]), self.value(node.parts[2])
        kind = then.type
        if is_number(then.type) and is_number(other.type) and then.type != other.type:
            kind = common(then.type, other.type)
        elif then.type.kind == "null":
            kind = other.type
        a, b = (self.converted(side, kind, node.line) for side in (then, other))
        return Value(f"({a.python} if {condition} else {b.python})", kind)

    def _cast(self, node: Node) -> Value:
        want = self.type(node.types[0])
        if len(node.parts) != 1:
            raise BuildError(f"line {node.line}: a cast takes one value")
        found = self.value(node.parts[0])
        if want.kind == "pointer" and found.type.kind in ("pointer", "null"):
            return Value(found.python, want)
        if found.type.kind == "pointer" and want.kind in ("int64", "uint64"):
            return Value(f"_k.address({found.python})", want)
        return self.converted(found, want, node.line)

    def _sizeof(self, node: Node) -> Value:
        texts = [token.text for token in node.types[0] if token.text not in ("const",)]
        known = None if texts[-1:] == ["*"] or len(texts) == 1 and texts[0] in api.SIZES else self.type(node.types[0])
        size = 8 if texts[-1:] == ["*"] else self.size(str(known) if known else texts[0], node.line)
        return Value(str(size), SIZE, size)

    def size(self, name: str, line: int) -> int:
        """Bytes of a type that a pointer points to."""
        if name in api.SIZES:
            return api.SIZES[name]
        found = next((kind for kind in (*BITS, *FLOATS) if str(Type(kind)) == name), "")
        if not found:
            raise missing(line, f"sizeof({name})", "in host code")
        return {"bool": 1, "float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}.get(found) or BITS[found] // 8

    def _braces(self, node: Node) -> Value:
        values = [self.value(part) for part in node.parts]
        if values and all(value.type == TENSOR for value in values):
            return Value(f"[{', '.join(v.python for v in values)}]", Type("list", "tensor"))
        longs = [self.converted(value, Type("int64"), node.line).python for value in values]
        return Value(f"[{', '.join(longs)}]", Type("list", "int64"))

    # -- members and calls ----------------------------------------------------------------------------------------

    def _index(self, node: Node) -> Value:
        base, at = self.value(node.parts[0]), self.value(node.parts[1])
        if base.type.kind == "list" and is_int(at.type):
            return Value(f"_k.element({base.python}, {at.python})", Type(base.type.of))
        if base.type == TENSOR and is_int(at.type):
            return Value(f"{base.python}[{at.python}]", TENSOR)
        raise missing(node.line, "[]", f"of {base.type}")

    def _member(self, node: Node) -> Value:
        base = self.value(node.parts[0])
        if base.type == DIM3 and node.text in ("x", "y", "z"):
            return Value(f"{base.python}[{'xyz'.index(node.text)}]", UNSIGNED)
        if base.type.kind == "properties" and node.text == "multiProcessorCount":
            return Value(f"{base.python}.multi_processor_count", INT)
        raise missing(node.line, node.text, f"a member of {base.type}")

    def _call(self, node: Node) -> Value:
        return called(self, node)

    def arguments(self, nodes: Sequence[Node], wanted: Sequence[Type], line: int) -> list[str]:
        """Python of arguments for parameters of these types."""
        return [self.python(node, want) for node, want in zip(nodes, wanted, strict=False)]

    def from_table(self, node: Node, name: str, rows: Sequence[api.Call], given: Sequence[Value]) -> Value:
        """The first way to call a function that takes these arguments."""
        return signature(self, node, name, rows, given)

    # -- launches -------------------------------------------------------------------------------------------------

    def _launch(self, node: Node) -> Value:
        target, configuration, *given = node.parts
        kernel = self.translation.parts.kernels.get(target.text.split("::")[-1]) if target.kind == "name" else None
        if kernel is None or self.function is None:
            raise missing(node.line, target.text or target.kind, "a launch of what is no kernel of this source")
        if not 2 <= len(configuration.parts) <= 4:
            raise BuildError(f"line {node.line}: <<<…>>> takes a grid and a block, then bytes of shared memory and a stream")
        grid, block = (self.python(part, DIM3) for part in configuration.parts[:2])
        shared = self.python(configuration.parts[2], SIZE) if len(configuration.parts) > 2 else "0"
        if len(configuration.parts) > 3:
            self.converted(self.value(configuration.parts[3]), STREAM, node.line)
        arguments = [self.value(part) for part in given]
        if self.function.file != "cuda":
            raise BuildError(f"line {node.line}: kernels are launched from cuda_sources; cpp_sources are no CUDA code")
        passed = [Argument(value.python, value.type) for value in arguments]
        name, values = self.translation.launches.add(
            self._bounded(kernel, target.types[1:], node.line), self._template(target), passed, self.function, node.line
        )
        each = "".join(f"{value}, " for value in values)
        return Value(f"_k.launch(_lib, {name!r}, ({grid}, {block}, {shared}), ({each}))", VOID)

    def _template(self, target: Node) -> tuple[str, str]:
        """What an entry declares before its call, and what it calls."""
        if not target.types:
            return "", target.text
        said: dict[str, str] = {}
        for token in (token for argument in target.types[1:] for token in argument if token.kind == "word"):
            if declaration := self._declaration(token):
                said[token.text] = declaration
        given = ", ".join(" ".join(token.text for token in argument) for argument in target.types[1:])
        return "".join(said.values()), f"{target.text}<{given}>"

    def _declaration(self, token: Token) -> str:
        """What tells device code of a name that only the host function knows."""
        for scope in reversed(self.scopes):
            if token.text in scope.types:
                return f"using {token.text} = {scope.types[token.text]}; "
            if token.text in scope.variables:
                value = scope.variables[token.text].value
                if value.constant is None or not scope.variables[token.text].fixed:
                    raise BuildError(f"line {token.line}: {token.text} is no constant: a template argument must be one")
                return f"constexpr {value.type} {token.text} = {value.constant}; "
        return ""

    def _bounded(self, kernel: Kernel, given: Sequence[Tokens], line: int) -> Kernel:
        """The kernel with the template's parameters replaced in its bounds."""
        bounds = kernel.bounds
        for i, parameter in enumerate(kernel.template or ()):
            name = next((token.text for token in reversed(_before_default(parameter)) if token.kind == "word"), "")
            if not re.search(rf"\b{name}\b", bounds):
                continue
            if i >= len(given):
                raise missing(line, kernel.bounds, f"of {kernel.name}, whose {name} the launch does not give")
            texts = [self._literal(token) for token in given[i]]
            bounds = re.sub(rf"\b{name}\b", f"({' '.join(texts)})", bounds)
        return Kernel(kernel.name, kernel.parameters, kernel.template, bounds)

    def _literal(self, token: Token) -> str:
        found = self.variable(token.text) if token.kind == "word" else None
        return token.text if found is None or found.value.constant is None else str(found.value.constant)


def _before_default(parameter: Tokens) -> Tokens:
    texts = [token.text for token in parameter]
    return parameter[: texts.index("=")] if "=" in texts else parameter


def _text(node: Node) -> str:
    body = node.text[node.text.index('"') + 1 : -1]
    plain = body.replace("\\n", "\n").replace('\\"', '"').replace("\\\\", "\\")
    return repr(plain)

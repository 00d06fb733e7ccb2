"""Calls in host functions: methods of tensors, functions of torch, CUDA and C++'s own, the source's own, and constructors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kernelwright.evaluator.inline import api
from kernelwright.evaluator.inline.kinds import (
    BITS,
    DIM3,
    DOUBLE,
    FLOAT,
    FLOATS,
    INT,
    TENSOR,
    UNSIGNED,
    Type,
    common,
    convert,
    is_int,
    is_number,
)
from kernelwright.evaluator.inline.tokens import Token, missing
from kernelwright.evaluator.inline.translate import Scope, Value, Variable
from kernelwright.evaluator.inline.values import Node
from kernelwright.evaluator.toolchain import BuildError

if TYPE_CHECKING:
    from kernelwright.evaluator.inline.expressions import Expressions

_POINTERS = frozenset({"data_ptr", "data", "mutable_data_ptr", "const_data_ptr"})
_OF_CUDA = ("cuda", "AT_", "C10_", "getCurrent", "getDefault", "device_synchronize")
_SKIPPED = frozenset({"cudaFuncSetAttribute"})
_NAMED_TYPES = frozenset(
    [
        "bool",
        "char",
        "short",
        "int",
        "long",
        "unsigned",
        "float",
        "double",
        "size_t",
        "int64_t",
        "int32_t",
        "uint32_t",
        "uint64_t",
        "int8_t",
        "uint8_t",
    ]
)


def called(here: Expressions, node: Node) -> Value:
    """Python and type of a call."""
    callee, given = node.parts[0], node.parts[1:]
    if callee.kind == "member":
        return _method(here, node, callee, given)
    if callee.kind != "name":
        raise missing(node.line, callee.kind, "called in host code")
    name, last = callee.text, callee.text.split("::")[-1]
    for attempt in (_constructed, _own, _of_std, _of_limits):
        found = attempt(here, node, callee, given)
        if found is not None:
            return found
    if last in _SKIPPED:
        return _attribute(here, node, given)
    if last in api.CUDA and ("::" in name or last.startswith(_OF_CUDA)):
        return signature(here, node, name, api.CUDA[last], [here.value(part) for part in given])
    if name.split("::")[0] in ("torch", "at") and name.count("::") == 1 and last in api.FUNCTIONS:
        return signature(here, node, name, api.FUNCTIONS[last], [here.value(part) for part in given])
    if last == "device_of" and len(given) == 1:
        return signature(here, node, name, api.FUNCTIONS[last], [here.value(given[0])])
    if here.variable(name) is not None or "::" in name or not name.islower():
        raise here.undefined(node, name) if here.variable(name) is None else missing(node.line, name, "a variable called")
    raise missing(node.line, name, "a function that is called in host code")


def signature(here: Expressions, node: Node, name: str, rows: Sequence[api.Call], given: Sequence[Value]) -> Value:
    """The first row that takes these arguments."""
    for row in rows:
        if len(row.arguments) != len(given):
            continue
        codes = [_fits(value, want) for value, want in zip(given, row.arguments, strict=True)]
        if all(code is not None for code in codes):
            return Value(row.python.format(*codes), row.result)
    kinds = ", ".join(str(value.type) for value in given)
    raise missing(node.line, f"{name}({kinds})", "a call of host code")


def _fits(value: Value, want: Type) -> str | None:
    if want.kind == "number":
        return value.python if is_number(value.type) else None
    if want.kind == "kind":
        return value.python if value.type.kind == "kind" else None
    if want.kind == "bool" and value.type.kind != "bool" or (want.kind == "tensor" and value.type.kind == "null"):
        return None
    return convert(value.python, value.type, want)


def _method(here: Expressions, node: Node, callee: Node, given: Sequence[Node]) -> Value:
    base = here.value(callee.parts[0])
    if base.type.kind == "optional" and callee.text not in ("has_value", "value"):
        base = Value(base.python, TENSOR)  # `->` of an optional
    if base.type == TENSOR and callee.text in _POINTERS and not given:
        return _pointer(here, callee, base)
    if base.type == TENSOR and callee.text == "item" and callee.types and not given:
        kind = here.type(callee.types[1])
        raw = Value(f"{base.python}.item()", Type("float64") if kind.kind in FLOATS else Type("int64"))
        return here.converted(raw, kind, node.line)
    if callee.types:
        raise missing(node.line, callee.text, f"of {base.type}, with template arguments")
    rows = (api.METHODS if base.type == TENSOR else api.MEMBERS.get(base.type.kind, {})).get(callee.text)
    if rows is None:
        raise missing(node.line, callee.text, f"a method of {base.type}")
    if base.type.kind == "list" and base.type.of == "tensor":
        ends = callee.text in ("back", "front")
        rows = tuple(api.Call((TENSOR,) * len(row.arguments), TENSOR if ends else row.result, row.python) for row in rows)
    whole = [api.Call((base.type, *row.arguments), row.result, row.python) for row in rows]
    return signature(here, node, callee.text, whole, [base, *(here.value(part) for part in given)])


def _pointer(here: Expressions, callee: Node, base: Value) -> Value:
    if not callee.types:
        return Value(f"_k.pointer({base.python})", Type("pointer", "void"))
    kind = here.type(callee.types[1])
    if not is_number(kind) or kind.kind in ("uint16", "uint32", "uint64"):
        raise missing(callee.line, f"{callee.text}<{kind}>", "a method of a tensor")
    constant = "const " * (callee.text == "const_data_ptr")
    return Value(f"_k.pointer({base.python}, torch.{kind.kind})", Type("pointer", f"{constant}{kind}"))


def _constructed(here: Expressions, node: Node, callee: Node, given: Sequence[Node]) -> Value | None:
    """``float(x)``, ``dim3(a, b)``, ``std::vector<int64_t>{…}``."""
    name, last = callee.text, callee.text.split("::")[-1]
    if callee.types and last != "vector":
        return None
    if (
        not callee.types
        and name not in ("dim3", "std::string")
        and last not in ("IntArrayRef", *_NAMED_TYPES)
        and here.named_type(name) is None
    ):
        return None
    kind = Type("list", "int64") if last == "IntArrayRef" else None
    if callee.types:
        kind = Type("list", here.type(callee.types[1]).kind)
    elif kind is None:
        words = ["std", "::", "string"] if name == "std::string" else name.split(" ")
        kind = here.type([Token("word", part, node.line, 0, 0) for part in words])
    if node.text == "braces":
        given = given[0].parts if kind.kind in ("dim3",) or is_number(kind) else given
    return constructed(here, node, kind, given)


def constructed(here: Expressions, node: Node, kind: Type, given: Sequence[Node]) -> Value:
    """A value of a type made from arguments."""
    if kind == DIM3 and len(given) <= 3:
        parts = [here.python(part, UNSIGNED) for part in given]
        return Value(f"({', '.join([*parts, '1', '1', '1'][:3])})", DIM3)
    if kind.kind == "list":
        return _list(here, node, kind, given)
    if kind.kind == "guard":
        return Value(f"_k.guard({here.python(given[0], Type('device'))})" if given else "None", kind)
    if len(given) == 1:
        return here.converted(here.value(given[0]), kind, node.line)
    raise missing(node.line, str(kind), "a value made in host code")


def _list(here: Expressions, node: Node, kind: Type, given: Sequence[Node]) -> Value:
    if not given:
        return Value("[]", kind)
    if len(given) == 1 and given[0].kind == "braces":
        parts = [here.python(part, Type(kind.of)) for part in given[0].parts]
        return Value(f"[{', '.join(parts)}]", kind)
    if len(given) == 1:
        found = here.value(given[0])
        if found.type.kind == "list":
            return Value(f"list({found.python})", kind)
    if len(given) in (1, 2) and kind.of in BITS:
        count = here.python(given[0], Type("int64"))
        value = here.python(given[1], Type(kind.of)) if len(given) == 2 else "0"
        return Value(f"([{value}] * {count})", kind)
    raise missing(node.line, str(kind), "a list made in host code")


def _own(here: Expressions, node: Node, callee: Node, given: Sequence[Node]) -> Value | None:
    """A function of the source's own."""
    last = callee.text.split("::")[-1]
    functions = here.translation.parts.functions.get(last)
    if not functions or callee.text.split("::")[0] in ("std", "torch", "at", "c10"):
        return None
    scope = Scope()
    template = next((f.template for f in functions if f.template is not None), None)
    if template is not None:
        scope = _template(here, node, callee, template)
    found = here.translation.function(last, len(given), node.line, scope)
    if not found.required <= len(given) <= len(found.parameters):
        raise BuildError(f"line {node.line}: {last}() takes {len(found.parameters)} arguments ({len(given)} given)")
    codes = here.arguments(given, found.parameters, node.line)
    return Value(f"{found.python}({', '.join(codes)})", found.result)


def _template(here: Expressions, node: Node, callee: Node, template: Sequence[Sequence[Token]]) -> Scope:
    """What the arguments of a host template stand for."""
    scope = Scope()
    arguments = callee.types[1:]
    for i, parameter in enumerate(template):
        texts = [token.text for token in parameter]
        name = texts[texts.index("=") - 1] if "=" in texts else texts[-1]
        if i >= len(arguments):
            raise missing(node.line, callee.text, f"a host template whose {name} the call does not give")
        if texts[0] in ("typename", "class"):
            scope.types[name] = here.type(arguments[i])
            continue
        kind = here.type(parameter[:-1] if "=" not in texts else parameter[: texts.index("=") - 1])
        value = here.converted(here.value(here.translation.reader(arguments[i]).whole()), kind, node.line)
        if value.constant is None:
            raise BuildError(f"line {node.line}: the template argument {name} of {callee.text} must be a constant")
        scope.variables[name] = Variable(value, fixed=True)
    return scope


def _of_std(here: Expressions, node: Node, callee: Node, given: Sequence[Node]) -> Value | None:
    """C++'s own functions of numbers."""
    name = callee.text
    last = name.removeprefix("std::")
    if "::" in last:
        return None
    if last in ("min", "max") and len(given) == 2:
        return _extreme(here, node, callee, given)
    if last in ("abs", "labs") and len(given) == 1:
        found = here.value(given[0])
        return Value(f"abs({found.python})", found.type) if is_number(found.type) else None
    if last == "make_tuple":
        parts = [here.python(part, TENSOR) for part in given]
        return Value(f"({''.join(f'{part}, ' for part in parts)})", Type("tuple", str(len(parts))))
    if last in ("move", "forward") and len(given) == 1:
        return here.value(given[0])
    if last == "to_string" and len(given) == 1:
        return Value(f"str({here.value(given[0]).python})", Type("text"))
    return _maths(here, last, given)


def _extreme(here: Expressions, node: Node, callee: Node, given: Sequence[Node]) -> Value | None:
    left, right = map(here.value, given)
    if not (is_number(left.type) and is_number(right.type)):
        return None
    kind = here.type(callee.types[1]) if callee.types else common(left.type, right.type)
    if not callee.types and callee.text.startswith("std::") and left.type != right.type:
        raise BuildError(f"line {node.line}: {callee.text} of {left.type} and {right.type}: C++ wants one type")
    a, b = (here.converted(side, kind, node.line) for side in (left, right))
    last = callee.text.split("::")[-1]
    constant = None
    if a.constant is not None and b.constant is not None:
        constant = min(a.constant, b.constant) if last == "min" else max(a.constant, b.constant)
    return Value(f"{last}({a.python}, {b.python})", kind, constant)


def _maths(here: Expressions, last: str, given: Sequence[Node]) -> Value | None:
    single = last.endswith("f") and last[:-1] in api.MATHS
    name = last[:-1] if single else last
    if name not in api.MATHS:
        return None
    values = [here.value(part) for part in given]
    if not all(is_number(value.type) for value in values) or len(values) != 1 + (name in ("pow", "fmin", "fmax")):
        return None
    kind = FLOAT if single or all(value.type == FLOAT for value in values) else DOUBLE
    codes = [here.converted(value, kind, 0).python for value in values]
    code = f"_k.maths({name!r}, {', '.join(codes)})"
    return Value(f"_k.float32({code})" if kind == FLOAT else code, kind)


def _of_limits(here: Expressions, node: Node, callee: Node, given: Sequence[Node]) -> Value | None:
    """``std::numeric_limits<T>::…()``."""
    if not callee.text.startswith(("std::numeric_limits::", "numeric_limits::")) or given or len(callee.types) != 2:
        return None
    kind, last = here.type(callee.types[1]), callee.text.split("::")[-1]
    if is_int(kind) and last in ("max", "lowest", "min"):
        bits, unsigned = BITS[kind.kind], kind.kind.startswith("u")
        high, low = (1 << (bits - (not unsigned))) - 1, 0 if unsigned else -(1 << (bits - 1))
        number = high if last == "max" else low
        return Value(f"({number})", kind, number)
    known = {"infinity": "math.inf", "quiet_NaN": "math.nan"}
    known |= {"max": f"torch.finfo(torch.{kind.kind}).max", "lowest": f"torch.finfo(torch.{kind.kind}).min"}
    known |= {"epsilon": f"torch.finfo(torch.{kind.kind}).eps"}
    return Value(known[last], kind) if kind.kind in FLOATS and last in known else None


def _attribute(here: Expressions, node: Node, given: Sequence[Node]) -> Value:
    """``cudaFuncSetAttribute`` of dynamic shared memory: the launcher asks for that itself."""
    if len(given) == 3 and given[1].text == "cudaFuncAttributeMaxDynamicSharedMemorySize":
        target = given[0].parts[0] if given[0].kind == "unary" and given[0].parts else given[0]
        if target.kind == "cast" and target.parts:
            target = target.parts[0]
        if target.text.split("::")[-1] in here.translation.parts.kernels:
            here.converted(here.value(given[2]), INT, node.line)
            return Value("0", Type("error"))
    raise missing(node.line, "cudaFuncSetAttribute", "of anything but the dynamic shared memory of a kernel")

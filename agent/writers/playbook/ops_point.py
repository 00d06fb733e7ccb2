"""Rules of elementwise operators."""

from __future__ import annotations

import math
from collections.abc import Callable

from kernelwright.agent.writers.playbook.defs import Tensor, as_kind, fop, kind_of, num, op, where
from kernelwright.agent.writers.playbook.expr import Const, Expr, Kind, Op
from kernelwright.agent.writers.playbook.graph import Call, Unsupported
from kernelwright.agent.writers.playbook.lower import Args, Lowering, Value, rule

_FLOAT = (
    "sqrt", "rsqrt", "reciprocal", "exp", "exp2", "expm1", "log", "log1p", "log2", "log10", "sin", "cos", "tan", "asin", "acos",
    "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "erf", "erfc", "sigmoid",
)  # fmt: skip
_SAME = ("neg", "abs", "floor", "ceil", "trunc", "sign")


def _unary(name: str, to_float: bool) -> None:
    def lower(low: Lowering, args: Args, call: Call) -> Value:
        x = args["self"]

        def body(e: Expr) -> Expr:
            if to_float:
                return fop(name, e)
            if e.kind != "float" and name in ("floor", "ceil", "trunc"):
                return e
            return op(name, as_kind(e, "int") if e.kind == "bool" else e)

        return low.pointwise(low.dtype(call), body, x)

    rule(name)(lower)


for _name in _FLOAT:
    _unary(_name, True)
for _name in _SAME:
    _unary(_name, False)


def simple(*names: str) -> Callable[[Callable[..., Expr]], Callable[..., Expr]]:
    """Register ``body(x, *other arguments)``: the tensors and numbers of the call in the schema's order."""

    def register(body: Callable[..., Expr]) -> Callable[..., Expr]:
        def lower(low: Lowering, args: Args, call: Call) -> Value:
            given = [v for v in args.values() if v is not None and not (isinstance(v, dict) and "float" not in v)]
            return low.pointwise(low.dtype(call), body, *given)

        rule(*names)(lower)
        return body

    return register


def sigmoid(x: Expr) -> Expr:
    return fop("sigmoid", x)


@simple("relu")
def relu(x: Expr) -> Expr:
    return op("max", x, Const(0, x.kind))


@simple("silu")
def silu(x: Expr) -> Expr:
    return fop("mul", x, sigmoid(x))


@simple("silu_backward")
def silu_backward(grad: Expr, x: Expr) -> Expr:
    s = sigmoid(x)
    return fop("mul", grad, fop("mul", s, op("add", num(1), fop("mul", x, op("sub", num(1), s)))))


def softplus_of(x: Expr) -> Expr:
    """log(1 + exp(x)) that overflows nowhere."""
    return op("add", op("max", x, num(0)), fop("log1p", fop("exp", op("neg", op("abs", x)))))


@simple("mish")
def mish(x: Expr) -> Expr:
    # tanh(log(1 + e)) = (e² + 2e) / (e² + 2e + 2); beyond 20 it is 1 in fp32
    e = fop("exp", op("min", x, num(20)))
    top = op("mul", e, op("add", e, num(2)))
    return where(op("gt", x, num(20)), x, op("mul", x, op("div", top, op("add", top, num(2)))))


@simple("softplus")
def softplus(x: Expr, beta: Expr, threshold: Expr) -> Expr:
    scaled = fop("mul", x, beta)
    soft = softplus_of(scaled)
    return where(fop("gt", scaled, threshold), x, fop("div", soft, beta))


@rule("log_sigmoid_forward")
def log_sigmoid_forward(low: Lowering, args: Args, call: Call) -> Value:
    x = args["self"]
    return low.pointwise(low.dtype(call, 0), lambda e: op("neg", softplus_of(op("neg", e))), x), None


@simple("log_sigmoid")
def log_sigmoid(x: Expr) -> Expr:
    return op("neg", softplus_of(op("neg", x)))


@simple("hardsigmoid")
def hardsigmoid(x: Expr) -> Expr:
    return fop("div", op("min", op("max", op("add", x, num(3)), num(0)), num(6)), num(6))


@simple("hardswish")
def hardswish(x: Expr) -> Expr:
    return op("mul", x, hardsigmoid(x))


@simple("hardtanh")
def hardtanh(x: Expr, low: Expr, high: Expr) -> Expr:
    return op("min", op("max", x, low), high)


@simple("leaky_relu")
def leaky_relu(x: Expr, slope: Expr) -> Expr:
    return where(op("gt", x, num(0)), x, fop("mul", x, slope))


@simple("elu")
def elu(x: Expr, alpha: Expr, scale: Expr, input_scale: Expr) -> Expr:
    negative = fop("mul", alpha, fop("expm1", fop("mul", x, input_scale)))
    return fop("mul", scale, where(op("gt", x, num(0)), x, negative))


@rule("gelu")
def gelu(low: Lowering, args: Args, call: Call) -> Value:
    tanh = args["approximate"] == {"text": "tanh"}

    def body(x: Expr) -> Expr:
        if not tanh:
            return op("mul", fop("mul", x, num(0.5)), op("add", num(1), fop("erf", fop("mul", x, num(math.sqrt(0.5))))))
        cubic = op("add", x, op("mul", num(0.044715), op("mul", x, op("mul", x, x))))
        # 0.5 (1 + tanh u) = sigmoid(2u)
        return op("mul", x, sigmoid(op("mul", num(2 * math.sqrt(2 / math.pi)), cubic)))

    return low.pointwise(low.dtype(call), body, args["self"])


@rule("clamp", "clamp_min", "clamp_max", "clip")
def clamp(low: Lowering, args: Args, call: Call) -> Value:
    dtype = low.dtype(call)
    result = args["self"]
    for name, operator in (("min", "max"), ("max", "min")):
        bound = args.get(name)
        if bound is not None:
            result = low.pointwise(dtype, lambda x, b, o=operator: op(o, x, b), result, bound)
    return result


def _binary(names: tuple[str, ...], body: Callable[[Expr, Expr], Expr]) -> None:
    def lower(low: Lowering, args: Args, call: Call) -> Value:
        a, b, *rest = args.values()
        factor = args.get("alpha")
        if factor not in (None, 1):
            scale = low.expr(factor)
            return low.pointwise(low.dtype(call), lambda x, y: body(x, op("mul", y, scale)), a, b)
        return low.pointwise(low.dtype(call), body, a, b)

    rule(*names)(lower)


_binary(("add",), lambda a, b: op("add", a, b) if "bool" not in (a.kind, b.kind) or a.kind != b.kind else op("or", a, b))
_binary(("sub",), lambda a, b: op("sub", a, b))
_binary(("mul",), lambda a, b: op("and", a, b) if a.kind == b.kind == "bool" else op("mul", a, b))
_binary(("maximum", "fmax"), lambda a, b: op("max", a, b))
_binary(("minimum", "fmin"), lambda a, b: op("min", a, b))
_binary(("atan2",), lambda a, b: fop("atan2", a, b))
_binary(("copysign",), lambda a, b: fop("copysign", a, b))
_binary(("fmod",), lambda a, b: op("fmod", a, b))
_binary(("remainder",), lambda a, b: op("mod", a, b))
_binary(("floor_divide",), lambda a, b: op("floordiv", a, b))
_binary(("bitwise_left_shift", "__lshift__"), lambda a, b: op("shl", a, b))
_binary(("bitwise_right_shift", "__rshift__"), lambda a, b: op("shr", a, b))
for _name in ("eq", "ne", "lt", "le", "gt", "ge"):
    _binary((_name,), lambda a, b, o=_name: op(o, a, b))  # type: ignore[misc]
for _name in ("and", "or", "xor"):
    _binary((f"bitwise_{_name}", f"__{_name}__"), lambda a, b, o=_name: op(o, a, b))  # type: ignore[misc]
    _binary((f"logical_{_name}",), lambda a, b, o=_name: op(o, as_kind(a, "bool"), as_kind(b, "bool")))  # type: ignore[misc]


@rule("rsub")
def rsub(low: Lowering, args: Args, call: Call) -> Value:
    scale = low.expr(args["alpha"])
    return low.pointwise(low.dtype(call), lambda a, b: op("sub", b, op("mul", a, scale)), args["self"], args["other"])


@rule("div")
def div(low: Lowering, args: Args, call: Call) -> Value:
    mode = (args.get("rounding_mode") or {}).get("text")
    kind = kind_of(low.dtype(call))

    def body(a: Expr, b: Expr) -> Expr:
        if mode is None:
            return fop("div", a, b)
        if mode == "floor":
            return op("floordiv", as_kind(a, kind), as_kind(b, kind))
        return as_kind(fop("trunc", fop("div", a, b)), kind)

    return low.pointwise(low.dtype(call), body, args["self"], args["other"])


@rule("pow")
def power(low: Lowering, args: Args, call: Call) -> Value:
    base, exponent = args.get("self"), args.get("exponent")
    if isinstance(exponent, (int, float)) and not isinstance(exponent, bool):
        return low.pointwise(low.dtype(call), lambda x: fixed_power(x, exponent), base)
    return low.pointwise(low.dtype(call), lambda a, b: op("pow", a, b), base, exponent)


def fixed_power(x: Expr, exponent: float) -> Expr:
    """``x ** exponent`` by products, roots and divisions where those are exact enough."""
    whole = abs(exponent)
    if whole in (1, 2, 3, 4, 5, 6, 7, 8):
        parts: list[Expr] = []
        square = x
        for bit in range(4):
            if int(whole) >> bit & 1:
                parts.append(square)
            square = op("mul", square, square)
        result = parts[0]
        for part in parts[1:]:
            result = op("mul", result, part)
        return result if exponent > 0 else fop("div", num(1), result)
    if exponent == 0:
        return Const(1, "int") if x.kind != "float" else num(1)
    if exponent in (0.5, -0.5):
        return fop("sqrt" if exponent > 0 else "rsqrt", x)
    return fop("pow", x, num(exponent))


@rule("square")
def square(low: Lowering, args: Args, call: Call) -> Value:
    return low.pointwise(low.dtype(call), lambda x: op("mul", x, x), args["self"])


@rule("round")
def rounding(low: Lowering, args: Args, call: Call) -> Value:
    if args.get("decimals"):
        raise Unsupported("operator aten::round with decimals has no template")
    return low.pointwise(low.dtype(call), lambda x: op("round", x) if x.kind == "float" else x, args["self"])


@rule("where", "where.self", "where.ScalarOther", "where.ScalarSelf")
def where_rule(low: Lowering, args: Args, call: Call) -> Value:
    if "self" not in args:
        raise Unsupported("operator aten::where with one argument has no template")
    return low.pointwise(low.dtype(call), where, args["condition"], args["self"], args["other"])


@rule("masked_fill")
def masked_fill(low: Lowering, args: Args, call: Call) -> Value:
    return low.pointwise(low.dtype(call), lambda x, m, v: where(m, v, x), args["self"], args["mask"], args["value"])


@rule("logical_not")
def logical_not(low: Lowering, args: Args, call: Call) -> Value:
    return low.pointwise("bool", lambda x: op("not", as_kind(x, "bool")), args["self"])


@rule("bitwise_not")
def bitwise_not(low: Lowering, args: Args, call: Call) -> Value:
    return low.pointwise(low.dtype(call), lambda x: op("not" if x.kind == "bool" else "bitnot", x), args["self"])


@rule("isnan", "isinf")
def is_special(low: Lowering, args: Args, call: Call) -> Value:
    name = call.op.removeprefix("aten.").split(".")[0]
    return low.pointwise("bool", lambda x: fop(name, x), args["self"])


@rule("lerp")
def lerp(low: Lowering, args: Args, call: Call) -> Value:
    def body(a: Expr, b: Expr, w: Expr) -> Expr:
        return op("add", a, fop("mul", w, op("sub", b, a)))

    return low.pointwise(low.dtype(call), body, args["self"], args["end"], args["weight"])


@rule("addcmul", "addcdiv")
def addc(low: Lowering, args: Args, call: Call) -> Value:
    scale = low.expr(args["value"])
    name = "mul" if "addcmul" in call.op else "div"

    def body(a: Expr, b: Expr, c: Expr) -> Expr:
        return op("add", a, op("mul", scale, fop(name, b, c)))

    return low.pointwise(low.dtype(call), body, args["self"], args["tensor1"], args["tensor2"])


@rule("_to_copy", "to")
def to_copy(low: Lowering, args: Args, call: Call) -> Value:
    x: Tensor = args["self"]
    dtype = low.dtype(call)
    if kind_of(dtype) == x.kind and (x.kind != "int" or dtype == x.dtype or dtype == "int64"):
        return Tensor(x.shape, dtype, x.at)
    return low.pointwise(dtype, lambda e: convert(e, dtype), x)


def convert(e: Expr, dtype: str) -> Expr:
    """``e`` in the kind of ``dtype``, wrapped to its width."""
    kind: Kind = kind_of(dtype)
    value = as_kind(e, kind)
    if dtype in ("uint8", "int8", "int16", "int32"):
        bits = {"uint8": 8, "int8": 8, "int16": 16, "int32": 32}[dtype]
        if dtype == "uint8":
            return Op("and", (value, Const(255, "int")), "int")
        shift = Const(64 - bits, "int")
        return Op("shr", (Op("shl", (value, shift), "int"), shift), "int")
    return value


@rule("clone", "contiguous", "alias", "detach", "lift_fresh_copy", "dropout", "native_dropout", "_assert_tensor_metadata")
def identity(low: Lowering, args: Args, call: Call) -> Value:
    if "_assert" in call.op:
        return None
    if "dropout" in call.op and args.get("train"):
        raise Unsupported("a random dropout")
    x = args.get("self") if "self" in args else args["input"]
    return (x, x) if "native" in call.op else x

"""Operations on numbers in host functions, in Python; of constants what they give."""

from __future__ import annotations

from collections.abc import Callable

from kernelwright.evaluator.inline import cxx
from kernelwright.evaluator.inline.kinds import BITS, FLOAT, Type, is_int
from kernelwright.evaluator.inline.tokens import missing
from kernelwright.evaluator.inline.translate import Value, literal
from kernelwright.evaluator.toolchain import BuildError


def arithmetic(sign: str, left: Value, right: Value, kind: Type, line: int) -> Value:
    """An operation on two values of one type; of constants what it gives."""
    a, b = left.python, right.python
    if not is_int(kind):
        if sign not in "+-*/" or kind.kind in ("float16", "bfloat16"):
            raise missing(line, sign, f"of {kind}")
        code = f"_k.quotient({a}, {b})" if sign == "/" else f"({a} {sign} {b})"
        return Value(f"_k.float32({code})" if kind == FLOAT else code, kind)
    bits, unsigned = max(BITS[kind.kind], 32), kind.kind.startswith("u")
    codes = {"/": f"_k.divided({a}, {b})", "%": f"_k.remainder({a}, {b})"}
    codes |= {"<<": f"_k.shifted({a}, {b}, {bits})", ">>": f"_k.shifted({a}, -({b}), {bits})"}
    code = codes.get(sign) or f"({a} {sign} {b})"
    if sign in ("+", "-", "*", "<<"):
        code = f"({code} & {(1 << bits) - 1})" if unsigned else f"_k.int{bits}({code})"
    if left.constant is None or right.constant is None:
        return Value(code, kind)
    try:
        number = _computed(sign, int(left.constant), int(right.constant), bits, unsigned)
    except RuntimeError as error:
        raise BuildError(f"line {line}: {error}") from None
    return Value(literal(number, kind), kind, number)


def _computed(sign: str, a: int, b: int, bits: int, unsigned: bool) -> int:
    """What an operation on constants gives."""
    known: dict[str, Callable[[], int]] = {
        "+": lambda: a + b,
        "-": lambda: a - b,
        "*": lambda: a * b,
        "/": lambda: cxx.divided(a, b),
        "%": lambda: cxx.remainder(a, b),
        "<<": lambda: cxx.shifted(a, b, bits),
        ">>": lambda: cxx.shifted(a, -b, bits),
        "&": lambda: a & b,
        "|": lambda: a | b,
        "^": lambda: a ^ b,
    }
    number = known[sign]()
    if unsigned:
        return number & ((1 << bits) - 1)
    return cxx.int32(number) if bits == 32 else cxx.int64(number)

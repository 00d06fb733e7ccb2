"""What each operator of the IR is in Triton, and the functions that Triton lacks.

Nothing here calls libdevice: its functions do not exist in Triton's interpreter. Coefficients: Cephes (``atanf``), else Taylor.
"""

from __future__ import annotations

from kernelwright.agent.writers.playbook.expr import Const, Op

HELPERS: dict[str, str] = {
    "kw_sum": "return a + b",
    "kw_prod": "return a * b",
    "kw_max": "return tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)",
    "kw_min": "return tl.minimum(a, b, propagate_nan=tl.PropagateNan.ALL)",
    "kw_argmax": """first = (a > b) | ((a != a) & (b == b)) | (((a == b) | ((a != a) & (b != b))) & (i < j))
return tl.where(first, a, b), tl.where(first, i, j)""",
    "kw_argmin": """first = (a < b) | ((a != a) & (b == b)) | (((a == b) | ((a != a) & (b != b))) & (i < j))
return tl.where(first, a, b), tl.where(first, i, j)""",
    "kw_lastmax": """last = (b >= a) | (b != b)
return tl.where(last, b, a), tl.where(last, j, i)""",
    "kw_lastmin": """last = (b <= a) | (b != b)
return tl.where(last, b, a), tl.where(last, j, i)""",
    "kw_key": """bits = tl.where(a != a, 0x7FC00000, a.to(tl.int32, bitcast=True))
return bits ^ ((bits >> 31) & 0x7FFFFFFF)""",
    "kw_unkey": "return (a ^ ((a >> 31) & 0x7FFFFFFF)).to(tl.float32, bitcast=True)",
    "kw_pair": "return (a.to(tl.int64) << 32) | b",
    "kw_exchange": """h = tl.reshape(a, [N // (2 * S), 2, S])
other = tl.sum(h, 1, keep_dims=True) - h
flip = tl.arange(0, 2)[None, :, None]
if BIT >= 0:
    flip = flip ^ ((tl.arange(0, N // (2 * S)) >> BIT) & 1)[:, None, None]
return tl.reshape(tl.where((h > other) != (flip != 0), other, h), [N])""",
    "kw_merge": """for i in tl.static_range(0, L):
    a = kw_exchange(a, N, 1 << (L - 1 - i), i if ALTERNATE else -1)
return a""",
    "kw_sort": """for i in tl.static_range(1, L + 1):
    a = kw_merge(a, N, i, i < L)
return a""",
    "kw_halve": "return tl.reshape(tl.min(tl.reshape(a, [N // (2 * S), 2, S]), 1), [N // 2])",
    "kw_first": """for i in tl.static_range(1, K + 1):
    a = kw_merge(a, N, i, i < L)
for i in tl.static_range(K, L):
    a = kw_merge(kw_halve(a, N >> (i - K), 1 << K), N >> (i - K + 1), K, i + 1 < L)
return a""",
    "kw_floordiv": """q = a // b
return q - (((q * b) != a) & ((a < 0) != (b < 0))).to(tl.int32)""",
    "kw_mod": """r = a % b
return r + ((r != 0) & ((r < 0) != (b < 0))).to(tl.int32) * b""",
    "kw_ipow": """r = a * 0 + 1
for _ in tl.static_range(0, 6):
    r = tl.where((b & 1) != 0, r * a, r)
    a = a * a
    b = b >> 1
return r""",
    "kw_tanh": """t = tl.abs(a)
z = a * a
small = a * (1.0 + z * (-0.33333334 + z * (0.13333334 + z * (-0.053968254 + z * 0.021869488))))
large = 1.0 - 2.0 / (1.0 + tl.exp(2.0 * t))
return tl.where(t < 0.25, small, tl.where(a < 0, -large, large))""",
    "kw_expm1": """tail = 0.041666668 + a * (0.0083333338 + a * (0.0013888889 + a * 0.0001984127))
small = a * (1.0 + a * (0.5 + a * (0.16666667 + a * tail)))
return tl.where(tl.abs(a) < 0.35, small, tl.exp(a) - 1.0)""",
    "kw_log1p": """u = 1.0 + a
return tl.where((u == 1.0) | (u == float("inf")), a, tl.log(u) * (a / (u - 1.0)))""",
    "kw_round": "return tl.where(tl.abs(a) < 4194304.0, (a + 12582912.0) - 12582912.0, a)",
    "kw_trunc": "return tl.where(a < 0, tl.ceil(a), tl.floor(a))",
    "kw_sign": "return tl.where(a > 0, 1.0, tl.where(a < 0, -1.0, a))",
    "kw_isign": "return (a > 0).to(tl.int64) - (a < 0).to(tl.int64)",
    "kw_atan": """t = tl.abs(a)
high = t > 2.414213562373095
mid = t > 0.4142135623730950
x = tl.where(high, -1.0 / t, tl.where(mid, (t - 1.0) / (t + 1.0), t))
y = tl.where(high, 1.5707963267948966, tl.where(mid, 0.7853981633974483, 0.0))
z = x * x
p = ((8.05374449538e-2 * z - 1.38776856032e-1) * z + 1.99777106478e-1) * z - 3.33329491539e-1
y = y + (p * z * x + x)
return tl.where(a < 0, -y, y)""",
    "kw_atan2": """y = kw_atan(a / b)
left = tl.where((a < 0) | ((a == 0) & (1.0 / a < 0)), y - 3.141592653589793, y + 3.141592653589793)
zero = tl.where(1.0 / b < 0, tl.where(1.0 / a < 0, -3.141592653589793, 3.141592653589793), a)
return tl.where((a == 0) & (b == 0), zero, tl.where(b < 0, left, y))""",
    "kw_copysign": "return tl.where((b < 0) | ((b == 0) & (1.0 / b < 0)), -tl.abs(a), tl.abs(a))",
    "kw_asinh": """t = tl.abs(a)
y = kw_log1p(t + t * (t / (1.0 + tl.sqrt(t * t + 1.0))))
return tl.where(a < 0, -y, y)""",
    "kw_atanh": """t = tl.abs(a)
y = 0.5 * kw_log1p(2.0 * t / (1.0 - t))
return tl.where(a < 0, -y, y)""",
    "kw_pow": """p = tl.exp2(b * tl.log2(tl.abs(a)))
half = 0.5 * b
odd = (half != tl.floor(half)) & (b == tl.floor(b))
p = tl.where(a < 0, tl.where(b == tl.floor(b), tl.where(odd, -p, p), float("nan")), p)
return tl.where((b == 0) | (a == 1.0), 1.0, p)""",
}
"""Body of each helper, a ``@triton.jit`` function of (a), (a, b) or, for the arg-reductions, (a, i, b, j)."""

PAIRED = ("kw_argmax", "kw_argmin", "kw_lastmax", "kw_lastmin")
SINGLE = ("kw_tanh", "kw_expm1", "kw_log1p", "kw_round", "kw_trunc", "kw_sign", "kw_isign", "kw_atan", "kw_asinh", "kw_atanh",
          "kw_key", "kw_unkey")  # fmt: skip
SIZED = {
    "kw_exchange": "a, N: tl.constexpr, S: tl.constexpr, BIT: tl.constexpr",
    "kw_halve": "a, N: tl.constexpr, S: tl.constexpr",
    "kw_merge": "a, N: tl.constexpr, L: tl.constexpr, ALTERNATE: tl.constexpr",
    "kw_sort": "a, N: tl.constexpr, L: tl.constexpr",
    "kw_first": "a, N: tl.constexpr, L: tl.constexpr, K: tl.constexpr",
}
"""Helpers that take numbers known when they are compiled. ``kw_merge`` is one round of a bitonic network (Batcher 1968) over
``N`` elements in blocks of ``1 << L``, sorted upwards, or up and down in turns; ``kw_first`` keeps the least ``1 << K`` of each
``1 << L``. An element's partner is the sum of both without it, which costs one shuffle where they are in two threads."""

UNARY_TEXT: dict[str, str | dict[str, str]] = {
    "neg": "-{0}", "abs": "tl.abs({0})", "sqrt": "tl.sqrt_rn({0})", "rsqrt": "tl.div_rn(1.0, tl.sqrt_rn({0}))",
    "reciprocal": "1.0 / {0}", "square": "{0} * {0}", "exp": "tl.exp({0})", "exp2": "tl.exp2({0})",
    "expm1": "kw_expm1({0})", "log": "tl.log({0})",
    "log1p": "kw_log1p({0})", "log2": "tl.log2({0})", "log10": "tl.log({0}) * 0.4342944819032518",
    "sin": "tl.sin({0})", "cos": "tl.cos({0})", "tan": "tl.sin({0}) / tl.cos({0})",
    "asin": "kw_atan({0} / tl.sqrt((1.0 - {0}) * (1.0 + {0})))", "acos": "2.0 * kw_atan(tl.sqrt((1.0 - {0}) / (1.0 + {0})))",
    "atan": "kw_atan({0})", "sinh": "0.5 * (kw_expm1({0}) - kw_expm1(-{0}))", "cosh": "0.5 * (tl.exp({0}) + tl.exp(-{0}))",
    "tanh": "kw_tanh({0})", "asinh": "kw_asinh({0})", "acosh": "tl.log({0} + tl.sqrt(({0} - 1.0) * ({0} + 1.0)))",
    "atanh": "kw_atanh({0})", "erf": "tl.erf({0})", "erfc": "1.0 - tl.erf({0})", "sigmoid": "1.0 / (1.0 + tl.exp(-{0}))",
    "floor": "tl.floor({0})", "ceil": "tl.ceil({0})", "round": "kw_round({0})", "trunc": "kw_trunc({0})",
    "sign": {"float": "kw_sign({0})", "int": "kw_isign({0})", "bool": "{0}"},
    "isnan": "({0} != {0})", "isinf": '(tl.abs({0}) == float("inf"))', "not": "({0} == 0)", "bitnot": "~{0}",
    "float": "tl.cast({0}, tl.float32)", "int": "tl.cast({0}, tl.int64)", "bool": "({0} != 0)",
}  # fmt: skip

BINARY_TEXT: dict[str, str | dict[str, str]] = {
    "add": "{0} + {1}", "sub": "{0} - {1}", "mul": "{0} * {1}", "div": "{0} / {1}",
    "fmod": {"float": "{0} - kw_trunc({0} / {1}) * {1}", "int": "{0} % {1}"},
    "mod": {"float": "{0} - tl.floor({0} / {1}) * {1}", "int": "kw_mod({0}, {1})"},
    "floordiv": {"float": "tl.floor({0} / {1})", "int": "kw_floordiv({0}, {1})"},
    "max": {"float": "kw_max({0}, {1})", "int": "tl.maximum({0}, {1})", "bool": "{0} | {1}"},
    "min": {"float": "kw_min({0}, {1})", "int": "tl.minimum({0}, {1})", "bool": "{0} & {1}"},
    "atan2": "kw_atan2({0}, {1})", "copysign": "kw_copysign({0}, {1})",
    "eq": "({0} == {1})", "ne": "({0} != {1})",
    "lt": "({0} < {1})", "le": "({0} <= {1})", "gt": "({0} > {1})", "ge": "({0} >= {1})",
    "and": "{0} & {1}", "or": "{0} | {1}", "xor": "{0} ^ {1}", "shl": "{0} << {1}", "shr": "{0} >> {1}",
}  # fmt: skip

LARGEST = 9223372036854775807
IDENTITY: dict[str, dict[str, str]] = {
    "sum": {"float": "0.0", "int": "0", "bool": "0"},
    "prod": {"float": "1.0", "int": "1", "bool": "1"},
    "max": {"float": 'float("-inf")', "int": str(-LARGEST - 1), "bool": "0"},
    "min": {"float": 'float("inf")', "int": str(LARGEST), "bool": "1"},
    "any": {"float": "0", "int": "0", "bool": "0"},
    "all": {"float": "1", "int": "1", "bool": "1"},
}


def identity(op: str, kind: str) -> str:
    """The value that leaves a reduction unchanged."""
    return IDENTITY[op.removeprefix("arg")][kind]


def power_text(texts: list[str], expr: Op) -> str:
    """``pow``: by multiplications and roots where the exponent is a small literal, whole or half."""
    base, exponent = texts
    value = expr.args[1].value if isinstance(expr.args[1], Const) else None
    if value is not None and float(value).is_integer() and 1 <= abs(value) <= 4:
        text = " * ".join([base] * int(abs(value)))
        return text if value > 0 else f"1.0 / ({text})"
    if value == 0.5:
        return f"tl.sqrt_rn({base})"
    if value == -0.5:
        return f"tl.rsqrt({base})"
    if value in (1.5, -1.5):
        text = f"({base} * tl.sqrt_rn({base}))"
        return text if value > 0 else f"tl.div_rn(1.0, {text})"
    if expr.kind == "int":
        return f"kw_ipow({base}, {exponent})"
    return f"kw_pow({base}, {exponent})"


def helper_source(names: set[str]) -> str:
    """The helpers called ``names`` as module text, those that others call first."""
    parts = []
    for name, body in HELPERS.items():
        if name in names:
            arguments = "a, i, b, j" if name in PAIRED else "a" if name in SINGLE else SIZED.get(name, "a, b")
            lines = "\n".join(f"    {line}" for line in body.splitlines())
            parts.append(f"@triton.jit\ndef {name}({arguments}):\n{lines}\n")
    return "\n\n".join(parts)

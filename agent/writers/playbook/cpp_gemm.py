"""Matrix products and convolutions in C++: packed panels, a register-blocked micro-kernel, the epilogue on hot tiles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kernelwright.agent.writers.playbook.cpp_expr import TYPES, Printer, Scope
from kernelwright.agent.writers.playbook.cpp_loops import poly
from kernelwright.agent.writers.playbook.cpp_mask import Bounds, bounds
from kernelwright.agent.writers.playbook.expr import Const, Expr, Masked, Op, Position
from kernelwright.agent.writers.playbook.index import ONE, ZERO, Axis, Poly, product
from kernelwright.agent.writers.playbook.ir import Conv, Matmul, Store
from kernelwright.agent.writers.playbook.simplify import coefficient, move, move_poly
from kernelwright.agent.writers.playbook.walks import loads

_ROW_OF_A = (
    "  [&](float* d_, i64 step_, i64 m_, i64 k_, i64 c_) { for (i64 i_ = 0; i_ < c_; ++i_) d_[i_ * step_] = a_(m_, k_ + i_); },"
)


class _Text:
    """Statements put together."""

    def __init__(self, kinds: Mapping[str, str]) -> None:
        self.kinds = kinds

    def function(self, head: str, expr: Expr, known: Sequence[Axis]) -> list[str]:
        """A lambda that gives ``expr``; ``head`` is its parameter list."""
        scope = Scope(frozenset(known))
        printer = Printer(self.kinds, [scope])
        value = printer.value(expr)
        return [
            f"[&]({head}) __attribute__((always_inline)) -> float {{",
            *[f"  {line}" for line in scope.lines],
            f"  return {value};",
            "}",
        ]

    def stores(self, stores: Sequence[Store], known: Sequence[Axis], lane: Axis) -> list[str]:
        """The epilogue over a run of the lane's axis: ``acc_[j_]`` are the products."""
        outside, inside = Scope(frozenset(known)), Scope(frozenset((lane,)), frozenset(("acc",)))
        printer = Printer(self.kinds, [outside, inside])
        printer.scalars = {"acc": "acc_[j_]"}
        last = []
        for s in stores:
            value = printer.value(s.value)
            kind = self.kinds[s.buffer]
            value = value if s.value.kind == kind else f"({TYPES[kind]}){value}"
            last.append(f"{ {'float': 'st', 'int': 'si', 'bool': 'sb'}[kind] }({s.buffer}, {printer.poly(s.offset)}, {value});")
        return [
            *outside.lines,
            "#pragma omp simd",
            "for (i64 j_ = 0; j_ < count_; ++j_) {",
            f"  const i64 {lane.name} = from_ + j_;",
            *[f"  {line}" for line in [*inside.lines, *last]],
            "}",
        ]


def _decode(axes: Sequence[Axis], name: str) -> list[str]:
    lines = [f"i64 rest_{name} = {name}; (void)rest_{name};"]
    for axis in reversed(axes):
        lines.append(
            f"const i64 {axis.name} = rest_{name} % ({poly(axis.extent)}); (void){axis.name};"
            f" rest_{name} /= {poly(axis.extent)};"
        )
    return lines


def _batched(batch: Sequence[Axis], inside: Sequence[str]) -> list[str]:
    """The batch loop: in parallel where there are enough of them, else the product is."""
    total = poly(product(a.extent for a in batch))
    return [
        f"const i64 batches_ = {total};",
        "const bool many_ = batches_ >= omp_get_max_threads() && batches_ > 1;",
        "auto one_ = [&](const i64 batch_) {",
        *[f"  {line}" for line in [*_decode(batch, "batch_"), *inside]],
        "};",
        # two loops, not an `if` clause: a team of one would still make every region inside it nested, with new threads
        "if (many_) {",
        "#pragma omp parallel for schedule(dynamic)",
        "for (i64 batch_ = 0; batch_ < batches_; ++batch_) one_(batch_);",
        "} else for (i64 batch_ = 0; batch_ < batches_; ++batch_) one_(batch_);",
    ]


def matmul(kernel: Matmul, kinds: Mapping[str, str], point: Mapping[str, Any]) -> list[str]:
    """The statements of a matrix product."""
    text = _Text(kinds)
    m, n, k = kernel.m, kernel.n, kernel.k
    known = [*kernel.batch]
    a = text.function(f"i64 {m.name}, i64 {k.name}", kernel.a, [*known, m, k])
    b = text.function(f"i64 {k.name}, i64 {n.name}", kernel.b, [*known, n, k])
    epilogue = text.stores(kernel.stores, [*known, m], n)
    sizes = ", ".join(f"(i64)({poly(x.extent)})" for x in (m, n, k))
    along_k = any(coefficient(x.offset, k) is ONE for x in loads(kernel.b))
    thin = "thin_dot" if along_k else "thin_sweep"
    inside = [
        "auto a_ = " + "\n    ".join(a) + ";",
        "auto b_ = " + "\n    ".join(b) + ";",
        f"auto ep_ = [&](i64 {m.name}, i64 from_, i64 count_, const float* acc_) {{",
        *[f"  {line}" for line in epilogue],
        "};",
        f"if (({poly(m.extent)}) <= {int(point.get('thin', 4))}) {thin}({sizes}, a_, b_, ep_, !many_);",
        f"else gemm({sizes},",
        _ROW_OF_A,
        "  [&](float* d_, i64 k_, i64 n_, i64 c_) { for (i64 i_ = 0; i_ < c_; ++i_) d_[i_] = b_(k_, n_ + i_); },",
        "  ep_, !many_);",
    ]
    return _batched(kernel.batch, inside)


def suits(kernel: Conv, hint: Callable[[Poly], int]) -> bool:
    """Whether a convolution has enough output channels a group for panels to pay."""
    return hint(kernel.oc.extent) >= 4


def conv(kernel: Conv, kinds: Mapping[str, str], point: Mapping[str, Any]) -> list[str]:
    """A convolution as a matrix product whose right side is gathered while it is packed (implicit GEMM)."""
    text = _Text(kinds)
    oc = kernel.oc
    taps = product(t.extent for t in kernel.taps)
    k = Axis("kk_", kernel.ic.extent * taps)
    left = move(kernel.w, _split(k, (kernel.ic, *kernel.taps)))
    weights = text.function(f"i64 {oc.name}, i64 kk_", left, [kernel.batch, kernel.group, oc, k])
    flat = Axis("nn_", product(o.extent for o in kernel.spatial))
    change = _split(flat, kernel.spatial)
    stores = tuple(Store(s.buffer, move_poly(s.offset, change), move(s.value, change)) for s in kernel.stores)
    epilogue = text.stores(stores, [kernel.batch, kernel.group, oc], flat)
    sizes = f"(i64)({poly(oc.extent)}), (i64)({poly(flat.extent)}), (i64)({poly(k.extent)})"
    inside = [
        "auto a_ = " + "\n    ".join(weights) + ";",
        f"auto ep_ = [&](i64 {oc.name}, i64 from_, i64 count_, const float* acc_) {{",
        *[f"  {line}" for line in epilogue],
        "};",
        f"gemm({sizes},",
        _ROW_OF_A,
        "  [&](float* d_, i64 k_, i64 n_, i64 c_) {",
        *[f"    {line}" for line in _gather(kernel, kinds)],
        "  }, ep_, !many_);",
    ]
    return _batched((kernel.batch, kernel.group), inside)


def _split(flat: Axis, axes: Sequence[Axis]) -> dict[Axis, Poly]:
    """Each of ``axes`` in terms of one flat axis over all of them."""
    change: dict[Axis, Poly] = {}
    step = ONE
    whole = Poly.of(flat)
    real = [a for a in axes if a.extent is not ONE]
    for axis in reversed(real):
        change[axis] = whole // step if axis is real[0] else (whole // step) % axis.extent
        step = step * axis.extent
    for axis in axes:
        change.setdefault(axis, ZERO)
    return change


def _gather(kernel: Conv, kinds: Mapping[str, str]) -> list[str]:
    """Row ``k_`` of the gathered right side from column ``n_`` on, a run of the last spatial axis at a time."""
    *rows, last = kernel.spatial
    lines = _decode((kernel.ic, *kernel.taps), "k_")
    lines += ["for (i64 done_ = 0; done_ < c_;) {", "  const i64 at_ = n_ + done_;"]
    lines += [f"  {line}" for line in _decode(kernel.spatial, "at_")]
    lines.append(f"  const i64 run_ = imin(c_ - done_, ({poly(last.extent)}) - {last.name});")
    conditions: list[Expr] = []
    change: dict[Axis, Poly] = {}
    zero = Const(0, "int")
    lane = Axis("o_", last.extent)
    for i, position in enumerate(kernel.positions):
        o = Poly.of(lane) if i == len(rows) else Poly.of(kernel.spatial[i])
        t = Poly.of(kernel.taps[i])
        if kernel.transposed:
            at = o + kernel.padding[i] - t * kernel.dilation[i]
            if kernel.stride[i] is not ONE:
                rest = Position(at - (at // kernel.stride[i]) * kernel.stride[i])
                conditions.append(Op("eq", (rest, zero), "bool"))
            conditions.append(Op("ge", (Position(at), zero), "bool"))
            at = at // kernel.stride[i]
        else:
            at = o * kernel.stride[i] + t * kernel.dilation[i] - kernel.padding[i]
            if kernel.padding[i] is not ZERO:
                conditions.append(Op("ge", (Position(at), zero), "bool"))
        if kernel.transposed or kernel.padding[i] is not ZERO:
            conditions.append(Op("lt", (Position(at), Position(kernel.inputs[i])), "bool"))
        change[position] = at
    value: Expr = move(kernel.x, change)
    for condition in conditions:
        value = Masked(condition, value, Const(0.0, "float"), "float")
    known = frozenset((kernel.batch, kernel.group, kernel.ic, *kernel.taps, *rows))
    limits = bounds(value, lane, 0.0)
    return [*lines, *[f"  {line}" for line in _run(value, limits, lane, last, known, kinds)], "  done_ += run_;", "}"]


def _run(
    value: Expr, limits: Bounds | None, lane: Axis, last: Axis, known: frozenset[Axis], kinds: Mapping[str, str]
) -> list[str]:
    """One run of columns into ``d_ + done_``: zeros outside the input, an unmasked loop inside."""
    outside, inside = Scope(known), Scope(frozenset((lane,)))
    printer = Printer(kinds, [outside, inside])
    text = printer.value(value if limits is None else limits.value)
    body = [
        f"  const i64 {lane.name} = {last.name} + j_;",
        *[f"  {line}" for line in inside.lines],
        f"  d_[done_ + j_] = {text};",
        "}",
    ]
    if limits is None:
        return [*outside.lines, "#pragma omp simd", "for (i64 j_ = 0; j_ < run_; ++j_) {", *body]
    ahead = Printer(kinds, [Scope(known)])
    low, high = limits.ranges(lambda p: ahead.poly(p, True))
    lines = ["i64 lo_ = 0, hi_ = run_;", *[f"lo_ = imax(lo_, {t} - {last.name});" for t in low]]
    lines += [f"hi_ = imin(hi_, {t} - {last.name});" for t in high]
    tests = " && ".join(ahead.inline(t) for t in limits.tests) or "true"
    lines += [f"if (!({tests}) || hi_ <= lo_) lo_ = hi_ = run_;"]
    lines += ["for (i64 j_ = 0; j_ < lo_; ++j_) d_[done_ + j_] = 0;", "for (i64 j_ = hi_; j_ < run_; ++j_) d_[done_ + j_] = 0;"]
    return [*lines, "if (lo_ < hi_) {", *outside.lines, "#pragma omp simd", "for (i64 j_ = lo_; j_ < hi_; ++j_) {", *body, "}"]

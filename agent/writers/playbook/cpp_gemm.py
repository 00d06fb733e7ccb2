"""Matrix products and convolutions in C++: packed panels, a register-blocked micro-kernel, the epilogue on hot tiles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kernelwright.agent.writers.playbook.cpp_expr import TYPES, Printer, Scope
from kernelwright.agent.writers.playbook.cpp_loops import poly
from kernelwright.agent.writers.playbook.cpp_mask import Bounds, bounds
from kernelwright.agent.writers.playbook.index import ONE, ZERO, Axis, Poly, product
from kernelwright.agent.writers.playbook.ir import (
    Const,
    Conv,
    Expr,
    Masked,
    Matmul,
    Op,
    Position,
    Store,
)
from kernelwright.agent.writers.playbook.simplify import coefficient, move, move_poly
from kernelwright.agent.writers.playbook.walks import loads

CORE = r"""
#if defined(__AVX512F__)
#define VB 64
enum { MR_ = @MR512@, NV_ = @NV512@ };
#else
#define VB 32
enum { MR_ = 6, NV_ = 2 };
#endif
typedef float vf __attribute__((vector_size(VB), aligned(4)));
enum { VL_ = VB / 4, NR_ = NV_ * VL_ };

@MICRO@
struct Aligned {
  float* p;
  explicit Aligned(i64 n) : p((float*)std::aligned_alloc(64, (size_t)((n * 4 + 63) / 64 * 64 + 64))) {}
  ~Aligned() { std::free(p); }
  Aligned(const Aligned&) = delete;
};

// pa(dst, step, m, k, count): row m of A from k on; pb(dst, k, n, count): row k of B from n on; ep(m, n, count, acc)
template <class PA, class PB, class EP>
static void gemm(i64 M, i64 N, i64 K, PA pa, PB pb, EP ep, bool parallel) {
  parallel = parallel && M * N * K > (i64)(4 << 20);
  const i64 KC = @KC@, threads = parallel ? omp_get_max_threads() : 1;
  if (M <= 0 || N <= 0) return;
  i64 MC = std::min<i64>((M + MR_ - 1) / MR_, @MC@) * MR_, NG = @NG@;
  const i64 panels = (N + NR_ - 1) / NR_;
  while (NG > 1 && ((M + MC - 1) / MC) * ((panels + NG - 1) / NG) < 2 * threads) NG /= 2;
  while (MC > 2 * MR_ && ((M + MC - 1) / MC) * ((panels + NG - 1) / NG) < 2 * threads) MC = (MC / MR_ + 1) / 2 * MR_;
  const i64 limit = std::max<i64>(NG, (i64)(1 << 24) / std::max<i64>(1, K * NR_) / NG * NG);
  for (i64 p0 = 0; p0 < panels; p0 += limit) {
    const i64 pn = std::min(limit, panels - p0);
    Aligned bp(pn * NR_ * std::max<i64>(K, 1));
#pragma omp parallel for schedule(static) if (parallel)
    for (i64 p = 0; p < pn; ++p) {
      const i64 n0 = (p0 + p) * NR_, count = std::min<i64>(NR_, N - n0);
      for (i64 k = 0; k < K; ++k) {
        float* dst = bp.p + (p * K + k) * NR_;
        pb(dst, k, n0, count);
        for (i64 j = count; j < NR_; ++j) dst[j] = 0;
      }
    }
    const i64 mt = (M + MC - 1) / MC, nt = (pn + NG - 1) / NG;
#pragma omp parallel if (parallel)
    {
      Aligned ap(MC * KC), ct(MC * NG * NR_);
#pragma omp for schedule(dynamic)
      for (i64 task = 0; task < mt * nt; ++task) {
        const i64 m0 = task % mt * MC, g0 = task / mt * NG, mc = std::min(MC, M - m0), gn = std::min(NG, pn - g0);
        const i64 ldc = NG * NR_;
        for (i64 k0 = 0; k0 < std::max<i64>(K, 1); k0 += KC) {
          const i64 kc = std::min(KC, K - k0);
          for (i64 i0 = 0; i0 < mc; i0 += MR_) {
            float* dst = ap.p + i0 * KC;
            for (i64 i = 0; i < MR_; ++i) {
              if (i0 + i < mc) pa(dst + i, (i64)MR_, m0 + i0 + i, k0, kc);
              else for (i64 k = 0; k < kc; ++k) dst[k * MR_ + i] = 0;
            }
          }
          for (i64 g = 0; g < gn; ++g)
            for (i64 i0 = 0; i0 < mc; i0 += MR_)
              micro(kc, ap.p + i0 * KC, bp.p + ((g0 + g) * K + k0) * NR_, ct.p + i0 * ldc + g * NR_, ldc, k0 == 0);
        }
        const i64 n0 = (p0 + g0) * NR_, count = std::min(gn * NR_, N - n0);
        for (i64 i = 0; i < mc; ++i) ep(m0 + i, n0, count, ct.p + i * ldc);
      }
    }
  }
}

// few rows: B is read once, as it lies. rows <= 8
template <class FA, class FB, class EP>
static void thin_dot(i64 M, i64 N, i64 K, FA a, FB b, EP ep, bool parallel) {
#pragma omp parallel for schedule(static) if (parallel && N * K > 131072)
  for (i64 n0 = 0; n0 < N; n0 += 16) {
    const i64 count = std::min<i64>(16, N - n0);
    float out[8][16];
    for (i64 j = 0; j < count; ++j)
      for (i64 m = 0; m < M; ++m) {
        float s0 = 0, s1 = 0, s2 = 0, s3 = 0;
        const i64 q = K / 4;
#pragma omp simd reduction(+ : s0, s1, s2, s3)
        for (i64 k = 0; k < q; ++k) {
          s0 += a(m, k) * b(k, n0 + j);
          s1 += a(m, q + k) * b(q + k, n0 + j);
          s2 += a(m, 2 * q + k) * b(2 * q + k, n0 + j);
          s3 += a(m, 3 * q + k) * b(3 * q + k, n0 + j);
        }
        for (i64 k = 4 * q; k < K; ++k) s0 += a(m, k) * b(k, n0 + j);
        out[m][j] = (s0 + s1) + (s2 + s3);
      }
    for (i64 m = 0; m < M; ++m) ep(m, n0, count, out[m]);
  }
}
template <class FA, class FB, class EP>
static void thin_sweep(i64 M, i64 N, i64 K, FA a, FB b, EP ep, bool parallel) {
#pragma omp parallel for schedule(static) if (parallel && N * K > 131072)
  for (i64 n0 = 0; n0 < N; n0 += 256) {
    const i64 count = std::min<i64>(256, N - n0);
    float out[8][256];
    for (i64 m = 0; m < M; ++m)
      for (i64 j = 0; j < 256; ++j) out[m][j] = 0;
    for (i64 k = 0; k < K; ++k)
      for (i64 m = 0; m < M; ++m) {
        const float f = a(m, k);
#pragma omp simd
        for (i64 j = 0; j < count; ++j) out[m][j] += f * b(k, n0 + j);
      }
    for (i64 m = 0; m < M; ++m) ep(m, n0, count, out[m]);
  }
}
"""


def core(point: Mapping[str, Any]) -> str:
    """The shared text with the point's blocking."""
    rows = int(point.get("mr", 12))
    values = {
        "MR512": rows,
        "NV512": {12: 2, 8: 3, 6: 4, 14: 2}[rows],
        "KC": point.get("kc", 256),
        "MC": point.get("mc", 8),
        "NG": point.get("ng", 8),
    }
    text = CORE.replace("@MICRO@", f"#if defined(__AVX512F__)\n{micro(rows, values['NV512'])}\n#else\n{micro(6, 2)}\n#endif")
    for key, value in values.items():
        text = text.replace(f"@{key}@", str(value))
    return text


def micro(rows: int, vectors: int) -> str:
    """``C[rows][vectors] (+)= A[k][rows] · B[k][vectors]`` with every accumulator a variable: arrays would live in memory."""
    cells = [(i, j) for i in range(rows) for j in range(vectors)]
    start = [f"  vf c{i}_{j} = first ? vf{{}} : *(const vf*)(c + {i} * ldc + {j} * VL_);" for i, j in cells]
    step = [f"    const vf b{j} = *(const vf*)(b + {j} * VL_);" for j in range(vectors)]
    for i in range(rows):
        step += [f"    {{ const float f = a[{i}];", *[f"      c{i}_{j} += f * b{j};" for j in range(vectors)], "    }"]
    end = [f"  *(vf*)(c + {i} * ldc + {j} * VL_) = c{i}_{j};" for i, j in cells]
    head = (
        "static void micro(i64 kc, const float* RESTRICT a, const float* RESTRICT b, float* RESTRICT c, i64 ldc, bool first) {"
    )
    return "\n".join([head, *start, "  for (i64 k = 0; k < kc; ++k, a += MR_, b += NR_) {", *step, "  }", *end, "}"])


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

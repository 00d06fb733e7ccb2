"""Large dense products on Hopper: operands come by TMA, and fp32 is split into TF32 parts outside the inner loop.

Two-byte operands: a persistent grid walks output tiles, the two loops flattened, so that the loads of the next tile are in
flight while the epilogue of the last one runs. fp32: a pass writes the second factor's high and low TF32 parts along K; the
main loop splits the first factor's tile in registers and adds three products, ``high·high + high·low + low·high``. The high
product of a step is added to the sum by an fp32 addition, since the tensor cores truncate where they accumulate (Ootomo and
Yokota 2022, https://arxiv.org/abs/2203.03341). Rows past the edge are zeros, which TMA fills in.

Written for what is plain: whole matrices as they lie in memory, of two-byte elements also in batches. The launch takes this way
where sizes and addresses allow it, and that of :mod:`~kernelwright.agent.writers.playbook.triton_dot` elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kernelwright.agent.writers.playbook.expr import Expr, Load
from kernelwright.agent.writers.playbook.index import Axis, flat, product
from kernelwright.agent.writers.playbook.ir import Program
from kernelwright.agent.writers.playbook.triton_code import Code, Group
from kernelwright.agent.writers.playbook.triton_code import size_text as text
from kernelwright.agent.writers.playbook.triton_expr import Scope
from kernelwright.agent.writers.playbook.triton_launch import Piece

WIDE = (128, 256, 64, 8, 3)
SQUARE = (128, 128, 64, 8, 4)
SPLIT = (64, 128, 32, 4, 3)
"""BM, BN, BK, warps, stages: of two-byte products, of those with few tiles, of fp32."""
LEAST = 256
"""Shortest K for which the prologue pays."""
MANY = 1024
"""Fewest rows for which splitting all of the second factor pays."""


@dataclass(frozen=True)
class Dense:
    """Products of matrices that lie in memory as they are, one for each point of ``batch``; M and N are flat runs of axes."""

    batch: tuple[Axis, ...]
    m: tuple[Axis, ...]
    n: tuple[Axis, ...]
    k: Axis
    a: Load
    b: Load
    a_rows: bool
    """``a`` is stored (m, k); else (k, m)."""
    b_rows: bool
    """``b`` is stored (k, n); else (n, k)."""
    a_many: bool
    """``a`` has a matrix for each point of ``batch``; else one for all. So ``b_many``."""
    b_many: bool


def as_dense(
    batch: tuple[Axis, ...], m: tuple[Axis, ...], n: tuple[Axis, ...], k: Axis, factors: tuple[Expr, Expr], program: Program
) -> Dense | None:
    """The products ``Σ_k a · b`` where both factors are whole matrices of the working dtype, else None."""
    found: list[tuple[Load, bool, bool]] = []
    for expr, outer, inner in ((factors[0], m, (k,)), (factors[1], (k,), n)):
        if not isinstance(expr, Load) or program.buffer(expr.buffer).dtype not in ("work", "float32"):
            return None
        forms = {
            flat((*many, *order)): (rows, bool(many))
            for many in ({(), batch})
            for rows, order in ((True, (*outer, *inner)), (False, (*inner, *outer)))
        }
        if expr.offset not in forms:
            return None
        found.append((expr, *forms[expr.offset]))
    (a, a_rows, a_many), (b, b_rows, b_many) = found
    if program.buffer(a.buffer).dtype != program.buffer(b.buffer).dtype:
        return None
    return Dense(batch, m, n, k, a, b, a_rows, b_rows, a_many, b_many)


RUNTIME = f'''
def dense_ok(a, b, a_inner, b_inner, m, n, k, s, split):
    """Whether TMA can read both factors, and there is enough to do for the large tiles."""
    size = a.element_size()
    aligned = all(t.data_ptr() % 16 == 0 and inner * size % 16 == 0 for t, inner in ((a, a_inner), (b, b_inner)))
    enough = m >= 128 and n >= 128 and k >= {LEAST} and -(-m // 128) * -(-n // 128) * s >= UNITS // 2
    if a.device.type == "cuda" and torch.cuda.get_device_capability(a.device)[0] < 9:
        return False
    return aligned and enough and size == (4 if split else 2) and (m >= {MANY} or not split)


@triton.jit
def kw_tf32(x):
    """x rounded to TF32, towards zero where that would be infinite; cut off, its rests would all have its sign and add up."""
    bits = x.to(tl.int32, bitcast=True)
    half = tl.where((bits & 2147483647) < 2139090944, 4096, 0)
    return ((bits + half) & -8192).to(tl.float32, bitcast=True)


@triton.jit
def kw_rest(x):
    """What kw_tf32 leaves out, as TF32; 0 where x is not finite."""
    rest = kw_tf32(x - kw_tf32(x))
    return tl.where(rest == rest, rest, 0.0)


@triton.jit
def kw_parts(p_b, p_high, p_low, n, k, depth, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """TF32 parts of b, stored (k, n) with ROWS and (n, k) else, as rows along k of length depth."""
    blocks = tl.cdiv(n, BLOCK)
    at_n = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    at_k = (tl.program_id(0) // blocks) * BLOCK + tl.arange(0, BLOCK)
    in_n, in_k = at_n < n, at_k < k
    if ROWS:
        from_b = p_b + at_k.to(tl.int64)[:, None] * n + at_n[None, :]
        x = tl.trans(tl.load(from_b, mask=in_k[:, None] & in_n[None, :], other=0.0))
    else:
        x = tl.load(p_b + at_n.to(tl.int64)[:, None] * k + at_k[None, :], mask=in_n[:, None] & in_k[None, :], other=0.0)
    where = at_n.to(tl.int64)[:, None] * depth + at_k[None, :]
    inside = in_n[:, None] & (at_k < depth)[None, :]
    tl.store(p_high + where, kw_tf32(x), mask=inside)
    tl.store(p_low + where, kw_rest(x), mask=inside)
'''
"""Functions that dense launches and kernels call, after those of the tiles."""
IMPORT = "from triton.tools.tensor_descriptor import TensorDescriptor"


class DenseWriter:
    """Writes both kernels of a dense product.

    Args:
        epilogue: writes the stores of a tile whose sum is ``acc`` into a scope in which M and N are bound.
    """

    def __init__(self, dense: Dense, program: Program, name: str, epilogue: Callable[[Scope], None], swizzle: int) -> None:
        self.dense = dense
        self.program = program
        self.name = name
        self.epilogue = epilogue
        self.swizzle = swizzle
        self.extents = [product(a.extent for a in axes) for axes in (dense.m, dense.n, (dense.k,), dense.batch)]
        self.sizes = [text(extent) for extent in self.extents]

    def pieces(self) -> tuple[list[Piece], list[str]]:
        """The kernels, and lines of the launcher: they return where the product was made this way."""
        dense, (m, n, k, s) = self.dense, self.sizes
        a, b = f"p_{dense.a.buffer}", f"p_{dense.b.buffer}"
        pieces, lines = [], []
        inner = f"{k if dense.a_rows else m}, {n if dense.b_rows else k}"
        if self.program.buffer(dense.a.buffer).dtype == "work":
            piece, call = self._half()
            pieces.append(piece)
            whole = dense.a_rows and not dense.b_rows  # both end where K does; else rows of the next matrix would be read
            last = "" if not dense.batch or whole else f" and ({k}) % {WIDE[2]} == 0"
            lines += [f"if dense_ok({a}, {b}, {inner}, {m}, {n}, {k}, {s}, False){last}:", *_indent(call), "    return"]
        if dense.a_rows and not dense.batch:
            piece, call = self._single()
            pieces.append(piece)
            lines += [f"if dense_ok({a}, {b}, {k}, 4, {m}, {n}, {k}, 1, True):", *_indent(call), "    return"]
        return pieces, lines

    def _half(self) -> tuple[Piece, list[str]]:
        dense, code = self.dense, Code(self.program)
        scope = Scope(code)
        m, n, k, count = (scope.size(extent) for extent in self.extents)
        _tiles(code, m, n)
        code.add(f"steps = tl.cdiv({k}, BK)")
        code.add("done = tl.program_id(0) - PROGRAMS")
        every = f"tiles_m * tiles_n * ({count})" if dense.batch else "tiles_m * tiles_n"
        code.add(f"for tile in tl.range(tl.program_id(0), {every}, PROGRAMS, flatten=True):")
        code.depth += 1
        self._place(code, "tile", "in")
        at = "step * BK"
        rows = [  # of each factor, where a matrix for each point of the batch begins
            f"batch_in * ({size}) + " if many else ""
            for many, size in ((dense.a_many, m if dense.a_rows else k), (dense.b_many, k if dense.b_rows else n))
        ]
        code.add("acc = tl.zeros([BM, BN], tl.float32)")
        code.add("for step in range(steps):")
        left = f"{rows[0]}m_in * BM, {at}])" if dense.a_rows else f"{rows[0]}{at}, m_in * BM]).T"
        right = f"{rows[1]}{at}, n_in * BN])" if dense.b_rows else f"{rows[1]}n_in * BN, {at}]).T"
        code.add(f"    acc = tl.dot(desc_a.load([{left}, desc_b.load([{right}, acc)")
        code.add("done += PROGRAMS")  # a second count, so that the next tile's loads do not wait for the epilogue
        self._place(code, "done", "out")
        self._finish(code, scope, m, n)
        name = f"{self.name}_tma"
        options = f"PROGRAMS=programs, SWIZZLE={self.swizzle}, IDX=IDX, num_warps=W, num_stages=S"
        (m, n, k, s), a, b = self.sizes, f"p_{dense.a.buffer}", f"p_{dense.b.buffer}"
        shapes = [(a, m, k, "BM", "BK") if dense.a_rows else (a, k, m, "BK", "BM")]
        shapes.append((b, k, n, "BK", "BN") if dense.b_rows else (b, n, k, "BN", "BK"))
        described = ", ".join(
            _described(tensor, f"({rows}) * ({s})" if many else rows, *rest)
            for many, (tensor, rows, *rest) in zip((dense.a_many, dense.b_many), shapes, strict=True)
        )
        call = [
            f"BM, BN, BK, W, S = {WIDE} if -(-({m}) // 128) * -(-({n}) // 256) * ({s}) >= UNITS // 2 else {SQUARE}",
            f"programs = min(units(device), -(-({m}) // BM) * -(-({n}) // BN) * ({s}))",
            f"{name}[(programs,)]({', '.join([described, *code.passed])}, {_even(m, n)}, {options})",
        ]
        return _piece(name, ["desc_a", "desc_b"], code, ["PROGRAMS"]), call

    def _single(self) -> tuple[Piece, list[str]]:
        dense, code = self.dense, Code(self.program)
        scope = Scope(code)
        m, n = (scope.size(extent) for extent in self.extents[:2])
        _tiles(code, m, n)
        self._place(code, "tl.program_id(0)", "out")
        code.add("sum_ = tl.zeros([BM, BN], tl.float32)")
        code.add("small = tl.zeros([BM, BN], tl.float32)")
        code.add("for at in range(0, depth, BK):")
        for line in (
            "a = desc_a.load([m_out * BM, at])",
            "high = desc_high.load([n_out * BN, at]).T",
            "low = desc_low.load([n_out * BN, at]).T",
            "above = kw_tf32(a)",
            "small = tl.dot(kw_tf32(a - above), high, small, input_precision='tf32')",
            "small = tl.dot(above, low, small, input_precision='tf32')",
            "part = tl.dot(above, high, input_precision='tf32')",  # last, so that no product is under way when the loop turns
            "sum_ = sum_ - part",  # a difference is not merged into the product as its accumulator
        ):
            code.add(f"    {line}")
        code.add("acc = tl.where(small == small, small, 0.0) - sum_")  # not finite: the high parts have said so
        self._finish(code, scope, m, n)
        name = f"{self.name}_split"
        bm, bn, bk, warps, stages = SPLIT
        (m, n, k, _), a, b = self.sizes, f"p_{dense.a.buffer}", f"p_{dense.b.buffer}"
        described = [_described(a, m, k, "BM", "BK"), *(_described(t, n, "depth", "BN", "BK") for t in ("high", "low"))]
        options = f"SWIZZLE={self.swizzle}, IDX=IDX, num_warps={warps}, num_stages={stages}"
        call = [
            f"BM, BN, BK, depth = {bm}, {bn}, {bk}, -(-({k}) // {bk}) * {bk}",
            f"high, low = torch.empty(2, {n}, depth, dtype=torch.float32, device=device)",
            f"kw_parts[(-(-({n}) // 64) * -(-depth // 64),)]({b}, high, low, {n}, {k}, depth, ROWS={dense.b_rows}, BLOCK=64)",
            f"programs = -(-({m}) // BM) * -(-({n}) // BN)",
            f"{name}[(programs,)]({', '.join([*described, 'depth', *code.passed])}, {_even(m, n)}, {options})",
        ]
        return _piece(name, ["desc_a", "desc_high", "desc_low", "depth"], code, []), call

    def _place(self, code: Code, tile: str, stem: str) -> None:
        """Names ``m_<stem>``, ``n_<stem>`` and, of a batch, ``batch_<stem>``.

        Columns of SWIZZLE row tiles come one after the other, so that neighbours share operands in the L2 cache.
        """
        if self.dense.batch:
            code.add(f"batch_{stem} = ({tile}) // (tiles_m * tiles_n)")
            tile = f"({tile}) % (tiles_m * tiles_n)"
        code.add(f"first_{stem} = (({tile}) // (SWIZZLE * tiles_n)) * SWIZZLE")
        code.add(f"high_{stem} = tl.minimum(tiles_m - first_{stem}, SWIZZLE)")
        code.add(f"m_{stem} = first_{stem} + (({tile}) % (SWIZZLE * tiles_n)) % high_{stem}")
        code.add(f"n_{stem} = (({tile}) % (SWIZZLE * tiles_n)) // high_{stem}")

    def _finish(self, code: Code, scope: Scope, m: str, n: str) -> None:
        code.add("at_m = m_out.to(IDX) * BM + tl.arange(0, BM)")
        code.add("at_n = n_out.to(IDX) * BN + tl.arange(0, BN)")
        code.add(f"in_m = (at_m < {m}) | BM_EVEN")
        code.add(f"in_n = (at_n < {n}) | BN_EVEN")
        inner = scope.child()
        if self.dense.batch:
            code.add("batch = batch_out.to(IDX)")
            inner.bind(Group(self.dense.batch, None, "batch", ""))
        self.epilogue(inner)


def _tiles(code: Code, m: str, n: str) -> None:
    code.add(f"tiles_m = tl.cdiv({m}, BM)")
    code.add(f"tiles_n = tl.cdiv({n}, BN)")


def _piece(name: str, operands: list[str], code: Code, options: list[str]) -> Piece:
    constants = ["BM", "BM_EVEN", "BN", "BN_EVEN", "BK", *options, "SWIZZLE", "IDX"]
    head = ", ".join([*operands, *code.declared, *(f"{c}: tl.constexpr" for c in constants)])
    return Piece(name, "\n".join([f"@triton.jit\ndef {name}({head}):", *code.lines]))


def _described(tensor: str, rows: str, columns: str, block_rows: str, block_columns: str) -> str:
    return f"TensorDescriptor({tensor}, [{rows}, {columns}], [{columns}, 1], [{block_rows}, {block_columns}])"


def _even(m: str, n: str) -> str:
    return f"BM=BM, BM_EVEN=({m}) % BM == 0, BN=BN, BN_EVEN=({n}) % BN == 0, BK=BK"


def _indent(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]

"""Matrix products and convolutions on tensor cores: one tile of the product a program, the epilogue in the same kernel.

A convolution is a product without a copy: ``oc × (ic, taps)`` by ``(ic, taps) × (batch, pixels)``, whose second factor is
read with masked loads. Pixels lie along the tile's fast dimension, as they do in memory.

Half-precision operands are multiplied as they are and summed in fp32; fp32 operands by ``tf32x3``: three TF32 products, with
the error of fp32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kernelwright.agent.writers.playbook.index import Axis, Poly, product
from kernelwright.agent.writers.playbook.ir import (
    Const,
    Conv,
    Expr,
    Load,
    Loop,
    Masked,
    Matmul,
    Nest,
    Op,
    Program,
    Reduce,
    Scalar,
    Store,
)
from kernelwright.agent.writers.playbook.triton_dense import DenseWriter, as_dense
from kernelwright.agent.writers.playbook.triton_expr import Code, Group, Scope, Val, estimate
from kernelwright.agent.writers.playbook.triton_expr import size_text as text
from kernelwright.agent.writers.playbook.triton_launch import Piece
from kernelwright.agent.writers.playbook.triton_tiles import TILES16, TILES32, UNITS, name_of, tile_for
from kernelwright.agent.writers.playbook.walks import conv_nest, walk

TUNING: dict[str, list[Any]] = {
    "tile": ["auto", *map(name_of, TILES16)],
    "tile32": ["auto", *map(name_of, TILES32)],
    "precision": ["tf32x3", "ieee"],
    "swizzle": [8, 1, 4, 16],
    "split_k": ["auto", 1, 2, 4, 8],
    "dense": ["on", "off"],
}
"""Parameter of a product -> its values, the default first."""


@dataclass(frozen=True)
class Product:
    """``acc[s…, m, n] = Σ_(lead, k) a · b``: what products and convolutions have in common. A group is a flat run of axes."""

    name: str
    scalars: tuple[Axis, ...]
    m: tuple[Axis, ...]
    n: tuple[Axis, ...]
    lead: tuple[Axis, ...]
    k: tuple[Axis, ...]
    a: Expr
    b: Expr
    acc: str
    stores: tuple[Store, ...]


def as_product(kernel: Matmul | Conv, program: Program) -> Product | None:
    """``kernel`` as a tiled product, or None where it is too thin for tensor cores or not of floats."""
    hints = program.hints
    if isinstance(kernel, Matmul):
        if kernel.a.kind != "float" or min(estimate(kernel.m.extent, hints), estimate(kernel.n.extent, hints)) < 8:
            return None
        return Product(
            kernel.name, kernel.batch, (kernel.m,), (kernel.n,), (), (kernel.k,), kernel.a, kernel.b, kernel.acc, kernel.stores
        )
    nest = conv_nest(kernel)
    value = nest.phases[0].reduces[0].value
    cond = value.cond if isinstance(value, Masked) else None
    both = value.value if isinstance(value, Masked) else value
    if not isinstance(both, Op):
        return None
    x, w = both.args
    depth = estimate(kernel.ic.extent, hints)
    taps = estimate(product(t.extent for t in kernel.taps), hints)
    if estimate(kernel.oc.extent, hints) < 8 or depth * taps < 16 or kernel.x.kind != "float":
        return None
    b: Expr = x if cond is None else Masked(cond, x, Const(0.0, "float"), "float")
    lead, k = (kernel.taps, (kernel.ic,)) if depth >= 16 else ((), (kernel.ic, *kernel.taps))
    return Product(
        kernel.name, (kernel.group,), (kernel.oc,), (kernel.batch, *kernel.spatial), lead, k, w, b, kernel.acc, kernel.stores
    )


def factor(expr: Expr, scope: Scope, code: Code) -> Val:
    """One operand tile in its own element type: a plain (guarded) load as it is, anything else computed in fp32 and rounded."""
    zero = isinstance(expr, Masked) and isinstance(expr.other, Const) and expr.other.value == 0
    if isinstance(expr, Load):
        return raw_load(expr, scope)
    if zero and isinstance(expr, Masked) and isinstance(expr.value, Load):
        cond = scope.expr(expr.cond)
        outside, scope.guard = scope.guard, cond
        loaded = raw_load(expr.value, scope)
        scope.guard = outside
        return loaded
    value = scope.expr(expr)
    return Val(value.text, value.dims)


def raw_load(load: Load, scope: Scope) -> Val:
    """The elements of a load without conversion."""
    address = scope.pointer(load.buffer, load.offset)
    mask = scope.mask(address.dims)
    guard = f", mask={mask.text}, other=0" if mask.text else ""
    return Val(scope.let(f"tl.load({address.text}{guard})"), address.dims | mask.dims)


def operand_type(item: Product, program: Program) -> str:
    """Text of the element type in which operands are multiplied: that of the first working-dtype load."""
    for expr in (item.a, item.b):
        for node in walk(expr):
            if isinstance(node, Load) and program.buffer(node.buffer).dtype == "work":
                return f"p_{node.buffer}.dtype.element_ty"
    return "tl.float32"


class ProductWriter:
    """Writes one product."""

    def __init__(self, item: Product, program: Program, point: Mapping[str, Any]) -> None:
        self.item = item
        self.program = program
        self.point = point
        self.code = Code(program)
        self.type = operand_type(item, program)

    def tuned(self, name: str) -> Any:
        """Parameter ``name`` of the point, or its default."""
        return self.point.get(name, TUNING[name][0])

    def _pids(self, scope: Scope) -> None:
        """Program number to tile: columns of ``SWIZZLE`` row tiles, so that neighbours share operands in the L2 cache."""
        code, item = self.code, self.item
        m, n = (scope.size(product(a.extent for a in axes)) for axes in (item.m, item.n))
        code.add("pid = tl.program_id(0)")
        code.add(f"tiles_m = tl.cdiv({m}, BM)")
        code.add(f"tiles_n = tl.cdiv({n}, BN)")
        code.add("tile = pid % (tiles_m * tiles_n)")
        code.add("rest = pid // (tiles_m * tiles_n)")
        code.add("first = (tile // (SWIZZLE * tiles_n)) * SWIZZLE")
        code.add("high = tl.minimum(tiles_m - first, SWIZZLE)")
        code.add("tile_m = first + (tile % (SWIZZLE * tiles_n)) % high")
        code.add("tile_n = (tile % (SWIZZLE * tiles_n)) // high")
        code.add("at_m = tile_m.to(IDX) * BM + tl.arange(0, BM)")
        code.add("at_n = tile_n.to(IDX) * BN + tl.arange(0, BN)")
        code.add(f"in_m = (at_m < {m}) | BM_EVEN")
        code.add(f"in_n = (at_n < {n}) | BN_EVEN")

    def _bind(self, scope: Scope, axes: tuple[Axis, ...], dim: int, stem: str, block: str) -> None:
        index = "[:, None]" if dim == 0 else "[None, :]"
        code = scope.code
        name, mask = code.fresh(f"{stem}_"), code.fresh(f"in_{stem}_")
        code.add(f"{name} = at_{stem}{index}")
        code.add(f"{mask} = in_{stem}{index}")
        scope.masks[dim] = mask
        scope.bind(Group(axes, dim, name, block))

    def kernel(self, split: int) -> str:
        """Body of the kernel; with ``split`` > 1 program_id(1) takes a share of the iterations and writes to ``SHARES``."""
        item, code = self.item, self.code
        top = Scope(code)
        self._pids(top)
        if item.scalars:
            code.add("batch = rest.to(IDX)")
            top.bind(Group(item.scalars, None, "batch", ""))
        left, right, out = top.child(), top.child(), top.child()
        self._bind(left, item.m, 0, "m", "BM")
        self._bind(right, item.n, 1, "n", "BN")
        depth = product(a.extent for a in item.k)
        blocks = top.let(f"tl.cdiv({top.size(depth)}, BK)")
        lead = product(a.extent for a in item.lead)
        trips = top.let(f"({top.size(lead)}) * {blocks}") if item.lead else blocks
        code.add("acc = tl.zeros([BM, BN], tl.float32)")
        low, high = "0", trips
        if split > 1:
            share = top.let(f"tl.cdiv({trips}, {split})")
            low = top.let(f"tl.program_id(1) * {share}")
            high = top.let(f"tl.minimum({low} + {share}, {trips})")
        code.add(f"for turn_ in tl.range({low}, {high}):")
        code.depth += 1
        code.add("turn = turn_ + tl.zeros([], tl.int32)")
        self._step(left.child(), right.child(), top, blocks)
        code.depth -= 1
        self._bind(out, item.m, 0, "m", "BM")
        self._bind(out, item.n, 1, "n", "BN")
        if split > 1:
            m, n = (top.size(product(a.extent for a in axes)) for axes in (item.m, item.n))
            count = top.size(product(a.extent for a in item.scalars))
            slot = f"(tl.program_id(1) * ({count}) + rest).to(tl.int64) * ({m}) * ({n})"
            mask = out.mask(frozenset({0, 1})).text
            code.add(f"tl.store(p_SHARES + {slot} + at_m[:, None] * ({n}) + at_n[None, :], acc, mask={mask})")
        else:
            self._finish(out)
        return "\n".join(code.lines)

    def _finish(self, out: Scope) -> None:
        """The epilogue, where the sum of a tile is ``acc`` and M and N are bound."""
        out.values[(Scalar(self.item.acc, "float"), "")] = Val("acc", frozenset({0, 1}))
        for store in self.item.stores:
            out.store(store)

    def _step(self, left: Scope, right: Scope, top: Scope, blocks: str) -> None:
        """One block of the sum."""
        item, code = self.item, self.code
        code.add(f"at_k = ({f'turn % {blocks}' if item.lead else 'turn'}).to(IDX) * BK + tl.arange(0, BK)")
        code.add(f"in_k = (at_k < {top.size(product(a.extent for a in item.k))}) | BK_EVEN")
        if item.lead:
            code.add(f"tap = (turn // {blocks}).to(IDX)")
            for scope in (left, right):
                scope.bind(Group(item.lead, None, "tap", ""))
        self._bind(left, item.k, 1, "k", "BK")
        self._bind(right, item.k, 0, "k", "BK")
        a, b = factor(item.a, left, code), factor(item.b, right, code)
        sides = []
        for value, shape in ((a, "[BM, BK]"), (b, "[BK, BN]")):
            part = value.text if value.dims == {0, 1} else f"tl.broadcast_to({value.text}, {shape})"
            sides.append(part)
        masks = (f"{left.masks[0]} & {left.masks[1]}", f"{right.masks[0]} & {right.masks[1]}")
        for i, expr in enumerate((item.a, item.b)):
            direct = isinstance(expr, Load) or (isinstance(expr, Masked) and isinstance(expr.value, Load))
            if not direct:
                sides[i] = f"tl.where({masks[i]}, {sides[i]}, 0.0)"
        code.add(f"acc = tl.dot(({sides[0]}).to({self.type}), ({sides[1]}).to({self.type}), acc, input_precision=PRECISION)")

    # launch ----------------------------------------------------------------------------------------

    def split(self) -> int:
        """Programs that share one tile's sum: where tiles are few and the sum is long."""
        wanted = self.tuned("split_k")
        if wanted != "auto":
            return int(wanted)
        item, hints = self.item, self.program.hints
        m, n, s, k = (
            estimate(product(a.extent for a in axes), hints) for axes in (item.m, item.n, item.scalars, (*item.lead, *item.k))
        )
        wanted = str(self.tuned("tile"))
        bm, bn, bk = tile_for(m, n, s, TILES16)[:3] if wanted == "auto" else map(int, wanted.split("x")[:3])
        tiles = -(-m // bm) * -(-n // bn) * s
        share = 1
        while tiles * share * 2 <= UNITS and k // (share * 2) >= 4 * bk and share < 16:
            share *= 2
        return share

    def tile(self, name: str, table: str) -> str:
        """The tile of the point as Python, or the choice of one by the sizes at hand."""
        wanted = str(self.tuned(name))
        if wanted != "auto":
            return f"({', '.join(wanted.split('x'))})"
        m, n, s = (text(product(a.extent for a in axes)) for axes in (self.item.m, self.item.n, self.item.scalars))
        return f"tile_for({m}, {n}, {s}, {table})"

    def pieces(self) -> tuple[list[Piece], list[str]]:
        """The kernel and the lines of ``forward`` that run it (without the epilogue where the sum is split)."""
        item, code = self.item, self.code
        split = self.split()
        body = self.kernel(split)
        planes = ["p_SHARES"] if split > 1 else []
        options = ("BM", "BM_EVEN", "BN", "BN_EVEN", "BK", "BK_EVEN", "SWIZZLE", "PRECISION", "IDX")
        head = ", ".join([*code.parameters, *planes, *(f"{o}: tl.constexpr" for o in options)])
        m, n, k, s = (text(product(a.extent for a in axes)) for axes in (item.m, item.n, item.k, item.scalars))
        source = self.type.removesuffix(".dtype.element_ty")
        small, large = self.tile("tile", "TILES16"), self.tile("tile32", "TILES32")
        sizes = large if source == "tl.float32" else f"{small} if {source}.element_size() == 2 else {large}"
        lines = [f"BM, BN, BK, W, S = {sizes}"]
        lines.append(f"BM, BN, BK = min(BM, max(16, p2({m}))), min(BN, max(16, p2({n}))), min(BK, max(16, p2({k})))")
        if split > 1:
            lines.append(f"p_SHARES = torch.empty({split} * ({s}) * ({m}) * ({n}), dtype=torch.float32, device=device)")
        even = ", ".join(f"{b}={b}, {b}_EVEN=({size}) % {b} == 0" for b, size in (("BM", m), ("BN", n), ("BK", k)))
        options_text = (
            f"SWIZZLE={self.tuned('swizzle')}, PRECISION={self.tuned('precision')!r}, IDX=IDX, num_warps=W, num_stages=S"
        )
        passed = ", ".join([*code.passed, *planes, even, options_text])
        lines.append(f"{item.name}[(-(-({m}) // BM) * -(-({n}) // BN) * ({s}), {split})]({passed})")
        dense, first = self._dense()
        return [*dense, Piece(item.name, f"@triton.jit\ndef {item.name}({head}):\n{body}")], [*first, *lines]

    def _dense(self) -> tuple[list[Piece], list[str]]:
        """Kernels and launches for large plain matrices, tried before the others; none where the product is not one."""
        item = self.item
        if item.scalars or item.lead or any(len(axes) != 1 for axes in (item.m, item.n, item.k)):
            return [], []
        dense = as_dense(item.m[0], item.n[0], item.k[0], (item.a, item.b), self.program)
        if dense is None or self.tuned("dense") == "off":
            return [], []
        return DenseWriter(dense, self.program, item.name, self._dense_epilogue, self.tuned("swizzle")).pieces()

    def _dense_epilogue(self, out: Scope) -> None:
        self._bind(out, self.item.m, 0, "m", "BM")
        self._bind(out, self.item.n, 1, "n", "BN")
        self._finish(out)

    def epilogue(self, split: int) -> Nest:
        """The kernel that adds the shares of a split sum and stores; it reads buffer ``SHARES``."""
        item = self.item
        share = Axis("share", Poly.of(split))
        offset = Poly.of(0)
        for axis in (share, *item.scalars, *item.m, *item.n):
            offset = offset * axis.extent + Poly.of(axis)
        value = Load("SHARES", offset, "float")
        outer = (*item.scalars, *item.m, *item.n)
        return Nest(
            f"{item.name}_sum",
            outer,
            (Loop((share,), reduces=(Reduce(item.acc, "sum", value, "float"),)), Loop((), stores=item.stores)),
        )

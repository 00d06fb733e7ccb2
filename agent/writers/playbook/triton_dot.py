"""Matrix products and convolutions on tensor cores: one tile of the product a program, the epilogue in the same kernel.

A convolution is a product without a copy: ``oc × (ic, taps)`` by ``(ic, taps) × (batch, pixels)``, whose second factor is
read with masked loads. Pixels lie along the tile's fast dimension, as they do in memory.

Half-precision operands are multiplied as they are and summed in fp32; fp32 operands by ``tf32x3``: three TF32 products, with
the error of fp32.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kernelwright.agent.writers.playbook.expr import Const, Expr, Load, Masked, Scalar
from kernelwright.agent.writers.playbook.index import Axis, Poly, estimate, flat, product
from kernelwright.agent.writers.playbook.ir import Loop, Nest, Program, Reduce
from kernelwright.agent.writers.playbook.products import Product
from kernelwright.agent.writers.playbook.triton_code import Code, Group, Val
from kernelwright.agent.writers.playbook.triton_code import size_text as text
from kernelwright.agent.writers.playbook.triton_dense import DenseWriter, as_dense
from kernelwright.agent.writers.playbook.triton_expr import Scope
from kernelwright.agent.writers.playbook.triton_launch import Piece
from kernelwright.agent.writers.playbook.triton_tiles import TILES16, TILES32, UNITS, name_of, tile_for
from kernelwright.agent.writers.playbook.walks import walk

FEW_CHANNELS = (16, 128, 16, 4, 4)
"""Tile of an fp32 convolution to no more channels than its rows, whose sums are short."""
TUNING: dict[str, list[Any]] = {
    "tile": ["auto", *map(name_of, TILES16)],
    "tile32": ["auto", *map(name_of, (*TILES32, FEW_CHANNELS))],
    "precision": ["tf32x3", "ieee"],
    "swizzle": [8, 1, 4, 16],
    "split_k": ["auto", 1, 2, 4, 8],
    "dense": ["on", "off"],
}
"""Parameter of a product -> its values, the default first."""


def factor(expr: Expr, scope: Scope) -> Val:
    """One operand tile in its own element type: a plain (guarded) load as it is, anything else computed in fp32 and rounded."""
    if isinstance(expr, Load):
        return raw_load(expr, scope)
    if isinstance(expr, Masked) and isinstance(expr.value, Load) and _loaded(expr):
        cond = scope.expr(expr.cond)
        outside, scope.guard = scope.guard, cond
        loaded = raw_load(expr.value, scope)
        scope.guard = outside
        return loaded
    return scope.expr(expr)


def _loaded(expr: Expr) -> bool:
    """Whether the elements are those of memory, or 0."""
    if isinstance(expr, Masked):
        return isinstance(expr.value, Load) and isinstance(expr.other, Const) and expr.other.value == 0
    return isinstance(expr, Load)


def tile_of(expr: Expr, scope: Scope, shape: str) -> str:
    """One operand tile of the whole ``shape``, 0 outside the scope's masks."""
    value = factor(expr, scope)
    text = value.text if value.dims == {0, 1} else f"tl.broadcast_to({value.text}, {shape})"
    if _loaded(expr):
        return text
    inside = " & ".join(scope.masks[dim] for dim in (0, 1) if dim in scope.masks)
    return f"tl.where({inside}, {text}, 0.0)" if inside else text


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
        count = scope.size(product(a.extent for a in item.scalars)) if item.near else "tiles_m * tiles_n"
        quick, slow = ("rest", "tile") if item.near else ("tile", "rest")
        code.add(f"{quick} = pid % ({count})")
        code.add(f"{slow} = pid // ({count})")
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
        self._begin()
        low, high = "0", trips
        if split > 1:
            share = top.let(f"tl.cdiv({trips}, {split})")
            low = top.let(f"tl.program_id(1) * {share}")
            high = top.let(f"tl.minimum({low} + {share}, {trips})")
        code.add(f"for turn_ in tl.range({low}, {high}):")
        code.depth += 1
        code.add("turn = turn_ + tl.zeros([], tl.int32)")
        self._step(left.child(), right.child(), top)
        code.depth -= 1
        self._end()
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
        if self.item.inside is not None:
            out.guard = out.expr(self.item.inside)
        out.values[(Scalar(self.item.acc, "float"), "")] = Val("acc", frozenset({0, 1}))
        for store in self.item.stores:
            out.store(store)

    def _step(self, left: Scope, right: Scope, top: Scope) -> None:
        """One block of the sum: all taps of a block of K, one after the other, since they read the same lines of memory."""
        item, code = self.item, self.code
        taps = f"({top.size(product(a.extent for a in item.lead))})"
        code.add(f"block = {f'turn // {taps}' if item.lead else 'turn'}")
        code.add("at_k = block.to(IDX) * BK + tl.arange(0, BK)")
        code.add(f"in_k = (at_k < {top.size(product(a.extent for a in item.k))}) | BK_EVEN")
        if item.lead:
            code.add(f"tap = (turn % {taps}).to(IDX)")
            for scope in (left, right):
                scope.bind(Group(item.lead, None, "tap", ""))
        self._bind(left, item.k, 1, "k", "BK")
        self._bind(right, item.k, 0, "k", "BK")
        self._multiply(left, right)

    def _begin(self) -> None:
        self.code.add("acc = tl.zeros([BM, BN], tl.float32)")

    def _multiply(self, left: Scope, right: Scope) -> None:
        sides = [
            f"({tile_of(expr, scope, shape)}).to({self.type})"
            for expr, scope, shape in ((self.item.a, left, "[BM, BK]"), (self.item.b, right, "[BK, BN]"))
        ]
        self.code.add(f"acc = tl.dot({sides[0]}, {sides[1]}, acc, input_precision=PRECISION)")

    def _end(self) -> None:
        """Make ``acc`` of what the loop summed."""

    # launch ----------------------------------------------------------------------------------------

    def split(self) -> int:
        """Programs that share one tile's sum: where tiles are few and the sum is long."""
        wanted = self.tuned("split_k")
        if self.item.inside is not None:
            return 1
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
        if table == "TILES32" and len(self.item.n) > 1 and estimate(self.item.m[0].extent, self.program.hints) <= 16:
            return str(FEW_CHANNELS)
        m, n, s = (text(product(a.extent for a in axes)) for axes in (self.item.m, self.item.n, self.item.scalars))
        return f"tile_for({m}, {n}, {s}, {table})"

    def pieces(self) -> tuple[list[Piece], list[str]]:
        """The kernel and the lines of ``forward`` that run it (without the epilogue where the sum is split)."""
        item, code = self.item, self.code
        split = self.split()
        body = self.kernel(split)
        planes = ["p_SHARES"] if split > 1 else []
        options = ("BM", "BM_EVEN", "BN", "BN_EVEN", "BK", "BK_EVEN", "SWIZZLE", "PRECISION", "IDX")
        head = ", ".join([*code.declared, *planes, *(f"{o}: tl.constexpr" for o in options)])
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
        return [Piece(item.name, f"@triton.jit\ndef {item.name}({head}):\n{body}")], lines

    def dense(self) -> tuple[list[Piece], list[str]]:
        """Kernels and launches for large plain matrices, tried before the others; none where the product is not one."""
        item = self.item
        if item.lead or len(item.k) != 1:
            return [], []
        dense = as_dense(item.scalars, item.m, item.n, item.k[0], (item.a, item.b), self.program)
        if dense is None:
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
        value = Load("SHARES", flat((share, *item.scalars, *item.m, *item.n)), "float")
        outer = (*item.scalars, *item.m, *item.n)
        return Nest(
            f"{item.name}_sum",
            outer,
            (Loop((share,), reduces=(Reduce(item.acc, "sum", value, "float"),)), Loop((), stores=item.stores)),
        )

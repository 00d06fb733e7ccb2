"""Products by tensor cores whose second factor is packed first, and convolutions of two-byte images whose image is, too.

The first factor is read through pointers, masked where need be, so that it may be an image under a kernel's taps, a transposed
matrix or an expression. The second, the smaller one, is packed by a kernel of its own: a row of K for each of its points, tap
by tap, with zeros up to a multiple of the block, which TMA then loads as tensor cores want it. A convolution packs its weights,
a transposed one by phases.

fp32: the packed factor is split into TF32 parts, as in :mod:`~kernelwright.agent.writers.playbook.triton_dense`; three products
make one, and no operand is split in shared memory inside the loop.

Two bytes: elements that lie apart along K can be copied to shared memory neither asynchronously nor side by side, so the image
is packed with its channels last.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from kernelwright.agent.writers.playbook.expr import Expr, Load
from kernelwright.agent.writers.playbook.index import Axis, Poly, estimate, flat, product
from kernelwright.agent.writers.playbook.ir import Buffer, Program
from kernelwright.agent.writers.playbook.products import Product
from kernelwright.agent.writers.playbook.triton_code import Code, Group
from kernelwright.agent.writers.playbook.triton_code import size_text as text
from kernelwright.agent.writers.playbook.triton_dot import ProductWriter, tile_of
from kernelwright.agent.writers.playbook.triton_expr import Scope
from kernelwright.agent.writers.playbook.triton_launch import Piece
from kernelwright.agent.writers.playbook.triton_tiles import name_of
from kernelwright.agent.writers.playbook.walks import expr_axes, loads

SPLIT_TILES = ((64, 128, 32, 4, 3), (128, 128, 32, 8, 3), (128, 64, 32, 4, 4), (128, 64, 32, 8, 4), (64, 64, 32, 4, 4))
IMAGE_TILES = ((256, 128, 64, 8, 3), (128, 128, 64, 8, 3), (128, 64, 64, 4, 4), (128, 256, 64, 8, 3), (64, 128, 64, 4, 4))
TUNING: dict[str, list[Any]] = {
    "split_tile": ["auto", *map(name_of, SPLIT_TILES)],
    "split_side": ["auto", "first", "second"],
    "image_tile": ["auto", *map(name_of, IMAGE_TILES)],
}
"""Parameter of a packed product -> its values, the default first."""
RUNTIME = '''
def packed_ok(a, b, size, m, n, k, s, bm, bn):
    """Whether TMA is there, operands are of ``size`` bytes, and there is enough to do for the large tiles."""
    if a.device.type == "cuda" and torch.cuda.get_device_capability(a.device)[0] < 9:
        return False
    enough = m >= 64 and n >= 32 and k >= 16 and -(-m // bm) * -(-n // bn) * s >= UNITS // 2
    return enough and a.element_size() == size and b.element_size() == size


def split_tile(n, k):
    """BM, BN, BK, warps and stages for n columns and k terms of fp32."""
    bk = 32 if k > 16 else 16
    if -(-n // 64) % 2 == 0 or n > 192:
        return 64, 128, bk, 4, 3
    return (128, 64, bk, 4, 4) if n > 32 else (128, 32, bk, 4, 4)


def image_tile(m, n, s):
    """BM, BN, BK, warps and stages for s products of m rows and n columns of two-byte elements."""
    if -(-n // 64) % 2 == 0 or n > 192:
        return 256 if -(-m // 256) * -(-n // 128) * s >= UNITS else 128, 128, 64, 8, 3
    return 128, 64 if n > 32 else 32, 64, 4, 4
'''
"""Functions that packed launches call, after those of dense products."""
IMAGE = "IMAGE"
"""Name of the buffer of an image with its channels last."""


def packed(item: Product, program: Program, point: Mapping[str, Any]) -> tuple[list[Piece], list[str]]:
    """Kernels and launches of ``item`` in this form, tried before the plain ones; none where it is not of memory's floats."""
    if any(expr.kind != "float" or not _tensors(expr, program) for expr in (item.a, item.b)):
        return [], []
    pieces, lines = SplitWriter(_sided(item, program, point), program, point).pieces()
    if item.image is not None:
        more, further = ImageWriter(item, program, point).pieces()
        pieces, lines = [*pieces, *more], [*lines, *further]
    return pieces, lines


def _sided(item: Product, program: Program, point: Mapping[str, Any]) -> Product:
    """``item`` with the factor second that is to be packed.

    It is the one whose elements lie apart along K, which the first factor's registers want together; where they are alike, or
    the other has far fewer elements, that of fewer.
    """

    def elements(expr: Expr) -> int:
        return math.prod(estimate(axis.extent, program.hints) for axis in expr_axes(expr))

    def together(expr: Expr) -> bool:
        inner = Poly.of(item.k[-1])
        return isinstance(expr, Load) and any(monomial == inner.terms[0][0] and w == 1 for monomial, w in expr.offset.terms)

    first, second = elements(item.a), elements(item.b)
    if together(item.a) != together(item.b) and max(first, second) < 8 * min(first, second):
        turn = together(item.b)
    else:
        turn = first < second
    wanted = point.get("split_side", "auto")
    return _turned(item) if (turn if wanted == "auto" else wanted == "first") else item


def _turned(item: Product) -> Product:
    return replace(item, m=item.n, n=item.m, a=item.b, b=item.a)


def _tensors(expr: Expr, program: Program) -> list[str]:
    """Names of the tensors of the working dtype, or of fp32, that ``expr`` reads."""
    return [f"p_{load.buffer}" for load in loads(expr) if program.buffer(load.buffer).dtype in ("work", "float32")]


class PackedWriter(ProductWriter, ABC):
    """What both forms share: the packing of the second factor, and the launch."""

    suffix: str
    size: int
    """Bytes of an element."""
    planes: tuple[str, ...]
    """Names of the packed factor's planes."""

    def __init__(self, item: Product, program: Program, point: Mapping[str, Any]) -> None:
        super().__init__(item, program, point)
        self.name = f"{item.name}_{self.suffix}"
        own = expr_axes(item.b)
        self.rows: tuple[Axis, ...] = tuple(axis for axis in (*item.scalars, *item.lead) if axis in own)
        """Axes of which each point has rows of its own in the packed factor, beside those of N."""
        self.packed_k = item.k
        self.checked = [_tensors(expr, program)[0] for expr in (item.a, item.b)]

    def load_packed(self, right: Scope) -> None:
        """The planes' tiles as ``b_<plane>``."""
        first = right.poly(flat(self.rows) * product(axis.extent for axis in self.item.n)).text
        self.code.add(f"row = ({first} + tile_n * BN).to(tl.int32)")
        for plane in self.planes:
            self.code.add(f"b_{plane} = desc_{plane}.load([row, block * BK]).T")

    @abstractmethod
    def tile_text(self) -> str:
        """The tile's choice as Python."""

    def before(self) -> tuple[list[Piece], list[str]]:
        """Kernels and lines that run before the product, beside the packing of the second factor."""
        return [], []

    def pieces(self) -> tuple[list[Piece], list[str]]:
        """The kernels, and lines of the launcher that return where the product was made this way."""
        item, name = self.item, self.name
        body = self.kernel(1)
        m, n, s, lead = (text(product(a.extent for a in axes)) for axes in (item.m, item.n, item.scalars, item.lead))
        k, own = (text(product(a.extent for a in axes)) for axes in (item.k, self.packed_k))
        rows = (*self.rows, *item.n)
        pack = packing(f"{name}_pack", self.program, rows, self.packed_k, item.b, self.planes)
        more, before = self.before()
        made = f"torch.empty({len(self.planes)}, rows, depth, dtype={self.checked[1]}.dtype, device=device)"
        described = [f"TensorDescriptor({plane}, [rows, depth], [depth, 1], [BN, BK])" for plane in self.planes]
        even = ", ".join(f"{b}={b}, {b}_EVEN=({size}) % {b} == 0" for b, size in (("BM", m), ("BN", n), ("BK", k)))
        options = f"SWIZZLE={self.tuned('swizzle')}, IDX=IDX, num_warps=W, num_stages=S"
        sides = ", ".join([*described, *self.code.passed])
        run = [
            f"rows, depth = {text(product(a.extent for a in rows))}, -(-({own}) // BK) * BK",
            f"{', '.join(self.planes)}, = {made}",
            f"{name}_pack[{_blocks('rows', 'depth')}]({', '.join([*self.planes, 'rows', 'depth', *pack[1], 'IDX=IDX'])})",
            *before,
            f"{name}[(-(-({m}) // BM) * -(-({n}) // BN) * ({s}),)]({sides}, {even}, {options})",
        ]
        lines = [
            f"BM, BN, BK, W, S = {self.tile_text()}",
            f"if packed_ok({', '.join(self.checked)}, {self.size}, {m}, {n}, ({own}) * ({lead}), {s}, BM, BN):",
            *(f"    {line}" for line in run),
            "    return",
        ]
        names = ["BM", "BM_EVEN", "BN", "BN_EVEN", "BK", "BK_EVEN", "SWIZZLE", "IDX"]
        head = [*(f"desc_{p}" for p in self.planes), *self.code.declared, *(f"{o}: tl.constexpr" for o in names)]
        source = f"@triton.jit\ndef {name}({', '.join(head)}):\n{body}"
        return [Piece(f"{name}_pack", pack[0]), *more, Piece(name, source)], lines


class SplitWriter(PackedWriter):
    """fp32 by three TF32 products."""

    suffix, size, planes = "packed", 4, ("high", "low")

    def _begin(self) -> None:
        self.code.add("sum_ = tl.zeros([BM, BN], tl.float32)")
        self.code.add("small = tl.zeros([BM, BN], tl.float32)")

    def _multiply(self, left: Scope, right: Scope) -> None:
        code = self.code
        code.add(f"a = ({tile_of(self.item.a, left, '[BM, BK]')}).to(tl.float32)")
        self.load_packed(right)
        for line in (
            "above = kw_tf32(a)",
            "small = tl.dot(kw_tf32(a - above), b_high, small, input_precision='tf32')",
            "small = tl.dot(above, b_low, small, input_precision='tf32')",
            "part = tl.dot(above, b_high, input_precision='tf32')",  # last, so that no product is under way when the loop turns
            "sum_ = sum_ - part",  # a difference is not merged into the product as its accumulator
        ):
            code.add(line)

    def _end(self) -> None:
        self.code.add("acc = tl.where(small == small, small, 0.0) - sum_")  # not finite: the high parts have said so

    def tile_text(self) -> str:
        wanted = str(self.point.get("split_tile", "auto"))
        n, k = (text(product(a.extent for a in axes)) for axes in (self.item.n, self.item.k))
        return f"split_tile({n}, {k})" if wanted == "auto" else f"({', '.join(wanted.split('x'))})"


class ImageWriter(PackedWriter):
    """Two-byte convolutions: the image is packed as well, channels last and as many as are a multiple of the block."""

    suffix, size, planes = "image", 2, ("whole",)

    def __init__(self, item: Product, program: Program, point: Mapping[str, Any]) -> None:
        if item.image is None:
            raise ValueError(f"{item.name} has no image to pack")
        self.image = item.image
        (channels,) = item.k
        wide = Axis(f"{channels.name}_wide", (channels.extent + 63) // 64 * 64)
        sizes = (*(axis.extent for axis in self.image.rows), wide.extent)
        buffer = Buffer(IMAGE, sizes, "work", "temp")
        turned = replace(_turned(item), k=(wide,), a=self.image.read(IMAGE, wide))
        super().__init__(turned, replace(program, buffers=(*program.buffers, buffer)), point)
        self.packed_k = item.k
        self.checked = [_tensors(expr, program)[0] for expr in (item.b, item.a)]

    def _multiply(self, left: Scope, right: Scope) -> None:
        self.code.add(f"a = {tile_of(self.item.a, left, '[BM, BK]')}")
        self.load_packed(right)
        self.code.add("acc = tl.dot(a, b_whole, acc)")

    def before(self) -> tuple[list[Piece], list[str]]:
        image, name = self.image, f"{self.name}_turn"
        source, passed = packing(name, self.program, image.rows, (image.channels,), image.x, ("whole",))
        rows, wide = text(product(a.extent for a in image.rows)), text(self.item.k[0].extent)
        lines = [
            f"IDX = tl.int64 if ({rows}) * ({wide}) >= 2**31 - 2**20 else IDX",
            f"p_{IMAGE} = torch.empty(({rows}) * ({wide}), dtype={self.checked[0]}.dtype, device=device)",
            f"{name}[{_blocks(rows, wide)}]({', '.join([f'p_{IMAGE}', rows, wide, *passed, 'IDX=IDX'])})",
        ]
        return [Piece(name, source)], lines

    def tile_text(self) -> str:
        wanted = str(self.point.get("image_tile", "auto"))
        m, n, s = (text(product(a.extent for a in axes)) for axes in (self.item.m, self.item.n, self.item.scalars))
        return f"image_tile({m}, {n}, {s})" if wanted == "auto" else f"({', '.join(wanted.split('x'))})"


def packing(
    name: str, program: Program, rows: Sequence[Axis], k: Sequence[Axis], value: Expr, planes: Sequence[str]
) -> tuple[str, list[str]]:
    """The kernel that writes ``value`` as rows of K of length ``depth``, zeros after K, and what is passed for its parameters.

    Two planes are TF32 parts of fp32; one is the values in the plane's element type.
    """
    code = Code(program)
    scope = Scope(code)
    code.add("blocks = tl.cdiv(depth, 64)")
    code.add("at_r = ((tl.program_id(0) // blocks) * 64 + tl.arange(0, 64)).to(IDX)[:, None]")
    code.add("at_k = ((tl.program_id(0) % blocks) * 64 + tl.arange(0, 64)).to(IDX)[None, :]")
    code.add("in_r = at_r < rows")
    code.add(f"in_k = at_k < {scope.size(product(a.extent for a in k))}")
    scope.masks.update({0: "in_r", 1: "in_k"})
    scope.bind(Group(tuple(rows), 0, "at_r", "64"))
    scope.bind(Group(tuple(k), 1, "at_k", "64"))
    code.add(f"x = {tile_of(value, scope, '[64, 64]')}")
    code.add("where = at_r.to(tl.int64) * depth + at_k")
    parts = ("kw_tf32(x.to(tl.float32))", "kw_rest(x.to(tl.float32))") if len(planes) == 2 else ("x",)
    for plane, part in zip(planes, parts, strict=True):
        code.add(f"tl.store(o_{plane} + where, ({part}).to(o_{plane}.dtype.element_ty), mask=in_r & (at_k < depth))")
    head = ", ".join([*(f"o_{plane}" for plane in planes), "rows", "depth", *code.declared, "IDX: tl.constexpr"])
    return "\n".join([f"@triton.jit\ndef {name}({head}):", *code.lines]), code.passed


def _blocks(rows: str, depth: str) -> str:
    return f"(-(-({rows}) // 64) * -(-({depth}) // 64),)"

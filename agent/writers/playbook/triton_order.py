"""An :class:`~.ir.Order` as Triton kernels: rows in registers by bitonic networks, longer ones by runs that are merged.

Values are compared as integers whose order is that of the floats (NaN last), so that a row may be padded at its end. A row
that fits a tile is read once and written once. The best few of a longer row are kept while it is read chunk by chunk; a
longer row is sorted in runs of a tile, and each pass of :data:`MERGE` doubles them: an element's place is its own rank plus
its rank in the neighbouring run, which a binary search finds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kernelwright.agent.writers.playbook.expr import Scalar
from kernelwright.agent.writers.playbook.graph import Unsupported
from kernelwright.agent.writers.playbook.index import Poly, estimate, product
from kernelwright.agent.writers.playbook.ir import Order, Program
from kernelwright.agent.writers.playbook.triton_code import Code, Group, Val
from kernelwright.agent.writers.playbook.triton_code import size_text as text
from kernelwright.agent.writers.playbook.triton_expr import Scope
from kernelwright.agent.writers.playbook.triton_launch import Piece

TUNING: dict[str, list[Any]] = {
    "order_tile": [2048, 1024, 4096, 512],
    "order_lane": [64, 32, 16, 8],
    "order_run": [4096, 2048, 8192],
    "merge_block": [1024, 512, 2048],
}
"""Parameter of an order -> its values, the default first: elements of a tile of short rows, of a thread, of a sorted run, of a
program that merges."""
FEW = 128
"""Most elements of a row that are picked instead of sorting it."""
SORTED = "tl.reshape(kw_sort(tl.reshape({}, [BR * BK]), BR * BK, LK), [BR, BK])"
"""Text of a tile of keys [BR, BK] in order."""

MERGE = """
@triton.jit
def {name}_merge(SOURCE, TARGET, n, width, steps, BM: tl.constexpr):
    blocks = tl.cdiv(n, BM)
    base = (tl.program_id(0) // blocks).to(tl.int64) * n
    i = tl.program_id(0) % blocks * BM + tl.arange(0, BM)
    inside = i < n
    key = tl.load(SOURCE + base + i, mask=inside, other=0)
    start = i // (2 * width) * (2 * width)
    middle = tl.minimum(start + width, n)
    left = i < middle
    first = tl.where(left, middle, start)
    low = first
    high = tl.where(left, tl.minimum(start + 2 * width, n), middle)
    for _ in tl.range(0, steps):
        mid = (low + high) // 2
        open = inside & (low < high)
        other = tl.load(SOURCE + base + mid, mask=open, other=0)
        before = (other < key) | ((other == key) & (i >= middle))
        low = tl.where(open & before, mid + 1, low)
        high = tl.where(open & (before == 0), mid, high)
    place = i - tl.where(left, 0, middle - start) + low - first
    tl.store(TARGET + base + place, key, mask=inside)
"""


def tuned(point: Mapping[str, Any], name: str) -> int:
    """Parameter ``name`` of ``point``, or its default."""
    return int(point.get(name, TUNING[name][0]))


def log(size: str) -> str:
    """Python for the exponent of ``size``, a power of two."""
    return f"{size}.bit_length() - 1"


def space(kernel: Order, program: Program) -> dict[str, list[Any]]:
    """The parameters that matter to ``kernel``."""
    if picks(kernel) or estimate(kernel.along.extent, program.hints) <= TUNING["order_run"][0]:
        return {name: TUNING[name] for name in ("order_tile", "order_lane")}
    return {name: TUNING[name] for name in ("order_lane", "order_run", "merge_block")}


def picks(kernel: Order) -> bool:
    """Whether a few are kept while the row is read, since their number is known and small."""
    count = kernel.rank.extent.const
    return count is not None and count <= FEW


class OrderWriter:
    """Writes the kernels of one order."""

    def __init__(self, kernel: Order, program: Program, point: Mapping[str, Any]) -> None:
        self.kernel, self.program, self.point = kernel, program, point
        kind = kernel.value.kind
        if kind == "bool" or (kernel.position and kind == "int"):
            raise Unsupported(f"an order of {kind} values{' by their places' if kernel.position else ''} has no template")
        self.wide = kernel.position or kind == "int"
        self.key = "tl.int64" if self.wide else "tl.int32"

    # parts of a kernel -----------------------------------------------------------------------------

    def rows(self, code: Code) -> Scope:
        """Bind the outer axes: BR rows a program."""
        scope = Scope(code)
        group = Group(self.kernel.outer, 0, "r", "BR")
        code.add("r = tl.program_id(0).to(IDX) * BR + tl.arange(0, BR)[:, None]")
        code.add(f"r_in = r < {scope.size(group.extent)}")
        scope.masks[0] = "r_in"
        scope.bind(group)
        return scope

    def keys(self, scope: Scope, at: str) -> str:
        """Name of a tile [BR, BK] of keys that starts at element ``at`` of the rows, padded with the last of the order."""
        code, inside = scope.code, scope.child()
        group = Group((self.kernel.along,), 1, code.fresh("k"), "BK")
        code.add(f"{group.index} = {at} + tl.arange(0, BK)[None, :].to(IDX)")
        inside.masks[1] = inside.let(f"{group.index} < {scope.size(group.extent)}")
        inside.bind(group)
        value = inside.expr(self.kernel.value)
        tile = inside.let(f"tl.broadcast_to({value.text}, [BR, BK])")
        key = f"kw_key({tile})" if self.kernel.value.kind == "float" else f"({tile}).to({self.key})"
        if self.kernel.descending:
            key = f"~({key})"
        if self.kernel.position:
            key = f"kw_pair({inside.let(key)}, {group.index}.to(tl.int64))"
        last = "9223372036854775807" if self.wide else "2147483647"
        return inside.let(f"tl.where({inside.masks[1]}, {key}, {last})")

    def keep(self, scope: Scope, keys: str, at: str) -> None:
        """Store the tile ``keys`` [BR, BJ] whose ranks start at ``at``."""
        code, out = scope.code, scope.child()
        group = Group((self.kernel.rank,), 1, "j", "BJ")
        code.add(f"j = {at} + tl.arange(0, BJ)[None, :].to(IDX)")
        out.masks[1] = out.let(f"j < {scope.size(group.extent)}")
        out.bind(group)
        kind = "int" if self.kernel.position else self.kernel.value.kind
        if self.kernel.position:
            found = f"{keys} & 4294967295"
        else:
            plain = f"~({keys})" if self.kernel.descending else keys
            found = f"kw_unkey({plain})" if kind == "float" else plain
        out.values[(Scalar(self.kernel.acc, kind), "")] = Val(out.let(found), frozenset({0, 1}))
        for store in self.kernel.stores:
            out.store(store)

    def piece(self, code: Code, name: str, more: list[str], options: dict[str, str], grid: str) -> Piece:
        """The kernel's text and its launch; ``options``: constants and the Python that gives them."""
        head = ", ".join([*code.declared, *more, *(f"{o}: tl.constexpr" for o in options)])
        passed = ", ".join([*code.passed, *more, *(f"{o}={v}" for o, v in options.items())])
        elements = " * ".join([options["BR"], options.get("BK", "BJ")])
        source = "\n".join([f"@triton.jit\ndef {name}({head}):", *code.lines])
        warps = f"num_warps=warps({elements}, {tuned(self.point, 'order_lane')})"
        return Piece(name, source, [f"{name}[({grid},)]({passed}, {warps})"])

    # kernels ---------------------------------------------------------------------------------------

    def pieces(self) -> tuple[list[Piece], list[str]]:
        """All kernels, and the lines of ``forward`` that run them."""
        outer = text(product(a.extent for a in self.kernel.outer))
        length, count = text(self.kernel.along.extent), text(self.kernel.rank.extent)
        if picks(self.kernel):
            return self._pick(outer, length, count)
        piece, run = self._whole(outer), tuned(self.point, "order_run")
        more, lines = self._merged(outer, length, count, run)
        tile = tuned(self.point, "order_tile")
        size = [f"BK = p2({length})", "BJ = BK", f"BR = min(p2({outer}), max(1, {tile} // BK))"]
        whole = [f"    {line}" for line in [*size, *piece.launch]]
        return [piece, *more], [f"if {length} <= {run}:", *whole, "else:", *(f"    {line}" for line in lines)]

    def _pick(self, outer: str, length: str, count: str) -> tuple[list[Piece], list[str]]:
        code = Code(self.program)
        scope = self.rows(code)
        first = "tl.reshape(kw_first(tl.reshape({}, [BR * BK]), BR * BK, LK, LJ), [BR, BJ])"
        code.add("if WHOLE:")
        code.depth += 1
        code.add(f"held = {first.format(self.keys(scope, '0'))}")
        code.depth -= 1
        code.add("else:")
        code.depth += 1
        code.add(f"held = {first.format(self.keys(scope, '0'))}")
        code.add(f"for t in tl.range(1, tl.cdiv({scope.size(self.kernel.along.extent)}, BK)):")
        code.depth += 1
        at = "(t + tl.zeros([], tl.int32)).to(IDX) * BK"
        code.add(f"more = {first.format(self.keys(scope, at))}")
        code.add("both = tl.reshape(tl.join(held, more), [BR * BJ * 2])")
        code.add("held = tl.reshape(kw_first(both, BR * BJ * 2, LJ + 1, LJ), [BR, BJ])")
        code.depth -= 2
        self.keep(scope, "held", "0")
        tile = tuned(self.point, "order_tile")
        options = {"BR": "BR", "BK": "BK", "BJ": "BJ", "LK": log("BK"), "LJ": log("BJ")}
        options |= {"WHOLE": f"{length} <= BK", "IDX": "IDX"}
        piece = self.piece(code, self.kernel.name, [], options, f"-(-({outer}) // BR)")
        lines = [f"BJ = p2({count})", f"BK = max(min(p2({length}), {tile}), BJ)"]
        lines.append(f"BR = min(p2({outer}), max(1, {tile} // BK))")
        return [piece], [*lines, *piece.launch]

    def _whole(self, outer: str) -> Piece:
        code = Code(self.program)
        scope = self.rows(code)
        code.add(f"held = {SORTED.format(self.keys(scope, '0'))}")
        self.keep(scope, "held", "0")
        options = {"BR": "BR", "BK": "BK", "BJ": "BJ", "LK": log("BK"), "IDX": "IDX"}
        return self.piece(code, self.kernel.name, [], options, f"-(-({outer}) // BR)")

    def _merged(self, outer: str, length: str, count: str, run: int) -> tuple[list[Piece], list[str]]:
        name = self.kernel.name
        code = Code(self.program)
        scope = self._blocks(code, self.kernel.along.extent)
        code.add(f"held = {SORTED.format(self.keys(scope, 'block * BK'))}")
        size = scope.size(self.kernel.along.extent)
        code.add("at = block * BK + tl.arange(0, BK)[None, :]")
        code.add(f"tl.store(KEYS + r.to(tl.int64) * {size} + at, held, mask=at < {size})")
        options = {"BR": "1", "BK": "BK", "LK": log("BK"), "IDX": "IDX"}
        first = self.piece(code, f"{name}_runs", ["KEYS"], options, f"({outer}) * -(-({length}) // BK)")
        merge = Piece(f"{name}_merge", MERGE.strip().format(name=name))
        code = Code(self.program)
        scope = self._blocks(code, self.kernel.rank.extent, block="BJ")
        size = scope.size(self.kernel.along.extent)
        code.add("at = block * BJ + tl.arange(0, BJ)[None, :]")
        code.add(f"held = tl.load(KEYS + r.to(tl.int64) * {size} + at, mask=at < {size}, other=0)")
        self.keep(scope, "held", "block * BJ")
        options = {"BR": "1", "BJ": "BJ", "IDX": "IDX"}
        last = self.piece(code, f"{name}_last", ["KEYS"], options, f"({outer}) * -(-({count}) // BJ)")
        block = tuned(self.point, "merge_block")
        lines = [
            f"BK, BJ = {run}, {block}",
            f"KEYS = torch.empty(({outer}) * ({length}), dtype=torch.{self.key[3:]}, device=device)",
            "MERGED = torch.empty_like(KEYS)",
            *first.launch,
            "WIDTH = BK",
            f"while WIDTH < {length}:",
            f"    programs = ({outer}) * -(-({length}) // {block})",
            f"    {name}_merge[(programs,)](KEYS, MERGED, {length}, WIDTH, WIDTH.bit_length(), BM={block})",
            "    KEYS, MERGED, WIDTH = MERGED, KEYS, WIDTH * 2",
            *last.launch,
        ]
        return [first, merge, last], lines

    def _blocks(self, code: Code, extent: Poly, block: str = "BK") -> Scope:
        """Bind one row and one block of it."""
        scope = Scope(code)
        group = Group(self.kernel.outer, 0, "r", "BR")
        blocks = scope.let(f"tl.cdiv({scope.size(extent)}, {block})")
        code.add(f"r = (tl.program_id(0) // {blocks}).to(IDX) + tl.arange(0, BR)[:, None]")
        code.add(f"block = (tl.program_id(0) % {blocks}).to(IDX)")
        scope.bind(group)
        return scope

"""Attention in one kernel: products with a softmax of rows between them, without ever storing the scores.

The softmax runs along the keys block by block with a running maximum and sum (Dao 2023, https://arxiv.org/abs/2307.08691).
Keys that a causal mask leaves no query of the tile are not read; blocks that it leaves whole are not compared.

Written for two-byte operands. The launch takes this way where heads are narrow enough for registers, and the separate kernels
elsewhere. Where there are too few tiles of queries to fill the device, as in decoding, the keys are split among programs and a
second kernel joins their sums (Dao et al. 2023, https://crfm.stanford.edu/2023/10/12/flashdecoding.html).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kernelwright.agent.writers.playbook.attention import Attention, live
from kernelwright.agent.writers.playbook.expr import Expr, Load, Scalar
from kernelwright.agent.writers.playbook.index import Axis, flat, product
from kernelwright.agent.writers.playbook.index import text as plain_text
from kernelwright.agent.writers.playbook.ir import Program
from kernelwright.agent.writers.playbook.triton_code import Code, Group, Val
from kernelwright.agent.writers.playbook.triton_code import size_text as text
from kernelwright.agent.writers.playbook.triton_dot import tile_of
from kernelwright.agent.writers.playbook.triton_expr import Scope
from kernelwright.agent.writers.playbook.triton_launch import Piece
from kernelwright.agent.writers.playbook.walks import loads

TILES = ((128, 64, 4, 3), (128, 64, 8, 3), (128, 128, 8, 2), (128, 128, 8, 3), (64, 64, 4, 3))
"""BM (queries), BN (keys), warps, stages."""
TUNING: dict[str, list[Any]] = {
    "attention": ["on", "off"],
    "attention_tile": ["auto", *("x".join(map(str, tile)) for tile in TILES)],
}
"""Parameter of an attention -> its values, the default first."""
RUNTIME = '''
def attention_ok(q, m, wide, out):
    """Whether operands are of two bytes, and heads of widths ``wide`` and ``out`` fit registers."""
    return q.element_size() == 2 and m > 1 and max(wide, out) <= 256


def attention_tile(wide, m):
    """BM, BN, warps and stages for ``m`` queries of heads of so many elements."""
    if m <= 16:
        return 16, 64, 4, 4
    return (128, 128, 8, 3) if wide > 64 else (128, 64, 4, 3)


def attention_splits(tiles, n, bn, device):
    """Among how many programs the keys of a tile are split: two a multiprocessor, each with four blocks of keys or more."""
    few = units(device)
    return 1 if tiles >= few else max(1, min(-(-2 * few // tiles), n // (4 * bn), 128))


def attention_tma(k, wide, out):
    """Whether TMA can read rows of keys and values."""
    hopper = k.device.type != "cuda" or torch.cuda.get_device_capability(k.device)[0] >= 9
    return hopper and k.data_ptr() % 16 == 0 and wide * 2 % 16 == 0 and out * 2 % 16 == 0
'''
_LOG2E = 1.4426950408889634


class AttentionWriter:
    """Writes the kernel of one attention."""

    def __init__(self, item: Attention, program: Program, point: Mapping[str, Any]) -> None:
        self.item = item
        self.program = program
        self.point = point
        self.code = Code(program)
        self.name = f"{item.result.name}_attention"
        scores, result = item.scores, item.result
        self.plain: tuple[str, str] | None = None
        """Tensors of keys and of values, where those are rows in memory, head after head."""
        wanted = (flat((*scores.batch, scores.n, scores.k)), flat((*result.batch, result.k, result.n)))
        if tuple(e.offset if isinstance(e, Load) else None for e in (scores.b, result.b)) == wanted:
            self.plain = (f"p_{scores.b.buffer}", f"p_{result.b.buffer}")  # type: ignore[union-attr]
        self.causal = live(item.logits, item.scores.m, item.scores.n)
        every = [load for expr in (item.scores.a, item.scores.b, item.result.b) for load in loads(expr)]
        self.work = next(f"p_{load.buffer}" for load in every if program.buffer(load.buffer).dtype == "work")
        self.type = f"{self.work}.dtype.element_ty"

    def pieces(self) -> tuple[list[Piece], list[str], str]:
        """The kernel, the lines of its launcher, and the condition under which ``forward`` runs it."""
        item = self.item
        self._kernel()
        m, n, wide, out = (text(a.extent) for a in (item.scores.m, item.scores.n, item.scores.k, item.result.n))
        count = text(product(a.extent for a in item.scores.batch))
        wanted = str(self.point.get("attention_tile", "auto"))
        tile = f"attention_tile(max({wide}, {out}), {m})" if wanted == "auto" else f"({', '.join(wanted.split('x'))})"
        blocks = (("BM", m), ("BN", n), ("BK", wide), ("BV", out))
        even = ", ".join(f"{b}={b}, {b}_EVEN=({size}) % {b} == 0" for b, size in blocks)
        options = f"{even}, IDX=IDX, num_warps=W, num_stages=S"
        lines = [
            f"BM, BN, W, S = {tile}",
            f"BM, BN, BK, BV = max(16, min(BM, p2({m}))), min(BN, max(16, p2({n}))), max(16, p2({wide})), max(16, p2({out}))",
            f"TILES = -(-({m}) // BM) * ({count})",
            f"SPLITS = attention_splits(TILES, {n}, BN, device)",
            "sums = torch.empty((SPLITS, TILES, BM, BV), dtype=torch.float32, device=device) if SPLITS > 1 else None",
            "peaks = torch.empty((SPLITS, TILES, 2, BM), dtype=torch.float32, device=device) if SPLITS > 1 else None",
        ]
        described: list[str] = []
        if self.plain:
            keys, values = self.plain
            lines.append(f"TMA = attention_tma({keys}, {wide}, {out}) and attention_tma({values}, {wide}, {out})")
            for name, tensor, width, block in (("desc_k", keys, wide, "BK"), ("desc_v", values, out, "BV")):
                shape = f"[({count}) * ({n}), {width}], [{width}, 1], [BN, {block}]"
                lines.append(f"{name} = TensorDescriptor({tensor}, {shape}) if TMA else {tensor}")
            described, options = ["desc_k", "desc_v"], f"TMA=TMA, {options}"
        names = [name for b in ("BM", "BN", "BK", "BV") for name in (b, f"{b}_EVEN")]
        names = [*(["TMA"] if self.plain else []), "SPLITS", *names, "IDX"]
        passed = ", ".join([*described, "sums", "peaks", *self.code.passed, f"SPLITS=SPLITS, {options}"])
        lines.append(f"{self.name}[(TILES, SPLITS)]({passed})")
        head = ", ".join([*described, "p_sums", "p_peaks", *self.code.declared, *(f"{o}: tl.constexpr" for o in names)])
        pieces = [Piece(self.name, "\n".join([f"@triton.jit\ndef {self.name}({head}):", *self.code.lines]))]
        pieces.append(self._joined(lines))
        sizes = ", ".join(plain_text(axis.extent) for axis in (item.scores.m, item.scores.k, item.result.n))
        return pieces, lines, f"attention_ok({self.work[2:]}, {sizes})"

    def _joined(self, lines: list[str]) -> Piece:
        """The kernel that joins what splits of the keys summed up, and its launch."""
        name, code = f"{self.name}_join", Code(self.program)
        self.code = code
        top = self._begin(("m", "v"))
        code.add("low = tl.arange(0, BM)")
        code.add('most = tl.full([BM], float("-inf"), tl.float32)')
        code.add("total = tl.zeros([BM], tl.float32)")
        code.add("acc = tl.zeros([BM, BV], tl.float32)")
        code.add("for split in tl.range(0, SPLITS):")
        code.depth += 1
        code.add("place = (split + tl.zeros([], tl.int64)) * tl.num_programs(0) + tl.program_id(0)")
        code.add("here = tl.load(p_peaks + place * 2 * BM + low)")
        code.add("best = tl.maximum(most, here)")
        code.add('base = tl.where(best == float("-inf"), 0.0, best)')
        code.add("keep, more = tl.exp2(most - base), tl.exp2(here - base)")
        code.add("total = total * keep + tl.load(p_peaks + (place * 2 + 1) * BM + low) * more")
        code.add("part = tl.load(p_sums + place * BM * BV + low[:, None] * BV + tl.arange(0, BV)[None, :])")
        code.add("acc = acc * keep[:, None] + part * more[:, None]")
        code.add("most = best")
        code.depth -= 1
        self._finish(top)
        names = ["SPLITS", "BM", "BM_EVEN", "BV", "BV_EVEN", "IDX"]
        head = ", ".join(["p_sums", "p_peaks", *code.declared, *(f"{o}: tl.constexpr" for o in names)])
        m, out = (text(a.extent) for a in (self.item.scores.m, self.item.result.n))
        even = f"BM=BM, BM_EVEN=({m}) % BM == 0, BV=BV, BV_EVEN=({out}) % BV == 0, IDX=IDX, num_warps=4"
        passed = ", ".join(["sums", "peaks", *code.passed, f"SPLITS=SPLITS, {even}"])
        lines += ["if SPLITS > 1:", f"    {name}[(TILES,)]({passed})"]
        return Piece(name, "\n".join([f"@triton.jit\ndef {name}({head}):", *code.lines]))

    def _begin(self, stems: tuple[str, ...]) -> Scope:
        """Which tile of which batch a program works at, and its positions along the axes of ``stems``."""
        code, scores, result = self.code, self.item.scores, self.item.result
        top = Scope(code)
        m, wide, out = (top.size(a.extent) for a in (scores.m, scores.k, result.n))
        code.add(f"tiles = tl.cdiv({m}, BM)")
        code.add(f"tile = {'tiles - 1 - ' if self.causal else ''}tl.program_id(0) % tiles")  # those with most keys first
        code.add("batch = (tl.program_id(0) // tiles).to(IDX)")
        for axes in (scores.batch, result.batch):
            if axes:
                top.bind(Group(axes, None, "batch", ""))
        places = {"m": ("BM", m, "tile.to(IDX) * BM + "), "d": ("BK", wide, ""), "v": ("BV", out, "")}
        for stem in stems:
            block, size, first = places[stem]
            code.add(f"at_{stem} = {first}tl.arange(0, {block})")
            code.add(f"in_{stem} = (at_{stem} < {size}) | {block}_EVEN")
        return top

    def _finish(self, top: Scope) -> None:
        """Divide by the sums of weights, and store."""
        result = self.item.result
        self.code.add("acc = acc / total[:, None]")
        done = self._scope(top, (result.m, "m", "BM"), (result.n, "v", "BV"))
        done.values[(Scalar(result.acc, "float"), "")] = Val("acc", frozenset({0, 1}))
        for store in result.stores:
            done.store(store)

    def _kernel(self) -> None:
        code, scores = self.code, self.item.scores
        top = self._begin(("m", "d", "v"))
        queries = self._scope(top, (scores.m, "m", "BM"), (scores.k, "d", "BK"))
        code.add(f"q = ({tile_of(scores.a, queries, '[BM, BK]')}).to({self.type})")
        code.add('most = tl.full([BM], float("-inf"), tl.float32)')
        code.add("total = tl.zeros([BM], tl.float32)")
        code.add("acc = tl.zeros([BM, BV], tl.float32)")
        code.add(f"keys = {top.size(scores.n.extent)} + tl.zeros([], tl.int32)")
        whole = "keys"
        value = self.item.logits
        if self.causal:
            value, reach = self.causal
            code.add(f"keys = tl.minimum(keys, tl.maximum((tile + 1) * BM + {reach - 1}, 0))")
            whole = f"tl.minimum(tl.maximum(tile * BM + {reach}, 0), keys)"
        code.add(f"whole = {whole} // BN * BN")
        code.add("first = tl.zeros([], tl.int32)")
        code.add("if SPLITS > 1:")
        code.add("    share = tl.cdiv(tl.cdiv(keys, SPLITS), BN) * BN")
        code.add("    first = tl.program_id(1) * share")
        code.add("    keys = tl.minimum(first + share, keys)")
        code.add("    whole = tl.minimum(tl.maximum(whole, first), tl.maximum(keys // BN * BN, first))")
        self._loop(top, "first", "whole", value, masked=False)
        self._loop(top, "whole", "keys", self.item.logits, masked=True)
        code.add("if SPLITS > 1:")
        code.add("    place = tl.program_id(1).to(tl.int64) * tl.num_programs(0) + tl.program_id(0)")
        code.add("    low = tl.arange(0, BM)")
        code.add("    tl.store(p_peaks + place * 2 * BM + low, most)")
        code.add("    tl.store(p_peaks + (place * 2 + 1) * BM + low, total)")
        code.add("    tl.store(p_sums + place * BM * BV + low[:, None] * BV + tl.arange(0, BV)[None, :], acc)")
        code.add("else:")
        code.depth += 1
        self._finish(top)
        code.depth -= 1

    def _loop(self, top: Scope, low: str, high: str, logits: Expr, masked: bool) -> None:
        code, scores, result = self.code, self.item.scores, self.item.result
        code.add(f"for start in tl.range({low}, {high}, BN):")
        code.depth += 1
        inner = top.child()
        code.add("at_n = (start + tl.zeros([], tl.int32)).to(IDX) + tl.arange(0, BN)")
        size = top.size(scores.n.extent)
        code.add(f"in_n = (at_n < {size}) | BN_EVEN" if masked else "in_n = at_n >= 0")
        self._read("k", inner, (scores.n, scores.k), scores.b, masked)
        code.add("acc_s = tl.dot(q, tl.trans(k))")
        both = self._scope(inner, (scores.m, "m", "BM"), (scores.n, "n", "BN"))
        both.values[(Scalar(scores.acc, "float"), "")] = Val("acc_s", frozenset({0, 1}))
        found = both.expr(logits)
        code.add(f"s = tl.broadcast_to(({found.text}) * {_LOG2E}, [BM, BN])")
        if masked:
            code.add('s = tl.where(in_n[None, :], s, float("-inf"))')
        code.add("best = tl.maximum(most, tl.max(s, 1))")
        code.add('base = tl.where(best == float("-inf"), 0.0, best)')  # no key so far: weights are 0, not NaN
        code.add("weights = tl.exp2(s - base[:, None])")
        code.add("keep = tl.exp2(most - base)")
        code.add("total = total * keep + tl.sum(weights, 1)")
        self._read("v", inner, (result.k, result.n), result.b, masked)
        code.add(f"acc = tl.dot(weights.to({self.type}), v, acc * keep[:, None])")
        code.add("most = best")
        code.depth -= 1

    def _read(self, name: str, inner: Scope, axes: tuple[Axis, Axis], value: Expr, masked: bool) -> None:
        """A block of keys (``k``) or values (``v``), by TMA where rows end in no block: it reads on into the next head."""
        code, (stem, block) = self.code, ("d", "BK") if name == "k" else ("v", "BV")
        tma = self.plain is not None and not masked
        if tma:
            code.add("if TMA:")
            rows = inner.size(axes[0].extent)
            code.add(f"    {name} = desc_{name}.load([(batch * ({rows})).to(tl.int32) + start, 0])")
            code.add("else:")
            code.depth += 1
        scope = self._scope(inner, (axes[0], "n", "BN"), (axes[1], stem, block))
        if not masked:
            del scope.masks[0]
        code.add(f"{name} = ({tile_of(value, scope, f'[BN, {block}]')}).to({self.type})")
        code.depth -= tma

    def _scope(self, outer: Scope, rows: tuple[Axis, str, str], columns: tuple[Axis, str, str]) -> Scope:
        """A block in which two axes are bound along the tile's dimensions, masked where they end inside it."""
        scope, code = outer.child(), self.code
        for dim, (axis, stem, block) in enumerate((rows, columns)):
            index = "[None, :]" if dim else "[:, None]"
            name, mask = code.fresh(f"{stem}_"), code.fresh(f"in_{stem}_")
            code.add(f"{name} = at_{stem}{index}")
            code.add(f"{mask} = in_{stem}{index}")
            scope.masks[dim] = mask
            scope.bind(Group((axis,), dim, name, block))
        return scope

"""How ``forward`` launches the kernels of a nest: block sizes, grid and warps as cheap Python over the sizes at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kernelwright.agent.writers.playbook.triton_code import Code, Group
from kernelwright.agent.writers.playbook.triton_code import size_text as text

TUNING: dict[str, list[Any]] = {
    "schedule": ["auto", "row", "loop", "split"],
    "row_tile": [4096, 1, 2048, 8192, 16384],
    "lane_elements": ["auto", 16, 8, 32, 64],
    "loop_tile": [4096, 2048, 8192, 1024],
    "column_block": [64, 32, 128, 256],
    "outer_tile": ["auto", "rows", "flat"],
    "map_tile": [1024, 2048, 512, 4096],
    "span_tile": [16, 8, 32, 64],
    "window_tile": [256, 512, 128, 1024],
    "stages": ["auto", 2, 1, 3, 4],
    "online_unroll": [2, 4, 1],
    "split_programs": [528, 264, 1056],
}
"""Parameter of a nest -> its values, the default first."""
_LANE, _STAGES = (16, 8), (2, 1)
"""Elements of a thread and stages of loops where nothing else is asked for: of rows, and of columns, whose sums over 8192 rows
took 60 us with the rows' values on an H100, and 57 us with theirs (results/h100/search-recording.json)."""
_SHARE = {"map": 2, "scatter": 4}
"""By how much fewer elements a thread has than in a row: accesses that wait for each other want more threads."""
_MANY_LOADS = 5
"""Loads of a kernel without loops that count as many: a stencil of seven points took 405 us on an H100, as a map 381."""
ROW_LIMIT = 32768
"""Most elements of a tile that is held in registers: 64 a thread at 16 warps."""


def tuned(point: Mapping[str, Any], name: str) -> Any:
    """Parameter ``name`` of ``point``, or its default."""
    return point.get(name, TUNING[name][0])


@dataclass
class Piece:
    """One ``@triton.jit`` function and the lines of ``forward`` that launch it."""

    name: str
    source: str
    launch: list[str] = field(default_factory=list)


def block_lines(
    groups: Mapping[str, Group], mode: str, square: bool, point: Mapping[str, Any], ragged: Sequence[str] = ()
) -> list[str]:
    """Assignments of the block sizes: columns and loops first, then as many rows as fill the tile."""
    size = {name: f"p2({text(group.extent)})" for name, group in groups.items()}
    inner = [name for name in groups if name.startswith("BK")]
    flat = "window_tile" if mode == "window" else "map_tile"
    lines = []
    if "BC" in groups:
        widest = 64 if square else tuned(point, "column_block" if inner else flat)
        lines.append(f"BC = min({size['BC']}, {widest})")
    for name in inner:
        if mode == "span":
            lines.append(f"{name} = min({size[name]}, {int(tuned(point, 'span_tile')) * (1 if 'BC' in groups else 4)})")
            continue
        whole = mode == "row"
        most = f"max(1, {tuned(point, 'loop_tile')} // BC)" if "BC" in groups else str(tuned(point, "loop_tile"))
        least = f"max(8, {size[name]})" if name in ragged else size[name]
        lines.append(f"{name} = {size[name]}" if whole else f"{name} = min({least}, {most})")
    if "BR" in groups:
        room = tuned(point, "row_tile" if inner else flat)
        across = f"max({', '.join(inner)})" if len(inner) > 1 else inner[0] if inner else "BC"
        lines.append(f"BR = min({size['BR']}, {'64' if square else f'max(1, {room} // {across})'})")
    return lines


@dataclass(frozen=True)
class Shape:
    """What the launch of a nest's kernel depends on."""

    outer: tuple[Group, ...]
    groups: Mapping[str, Group]
    """Block -> its group, of the outer axes and of the loops."""
    mode: str
    ragged: Sequence[str] = ()
    """Blocks of realigned loops."""
    shared: bool = False
    """The programs of a tile share a loop."""


def launch(code: Code, name: str, shape: Shape, blocks: list[str], point: Mapping[str, Any]) -> Piece:
    """The kernel's text and its launch."""
    groups, mode, ragged = shape.groups, shape.mode, shape.ragged
    planes = [plane for plane in ("PF", "PI") if any(f"{plane} +" in line for line in code.lines)]
    more = [*planes, *(["PARTS"] if mode == "split" else [])]
    options = [option for block in groups for option in (block, f"{block}_EVEN")]
    options += [f"{block}_RAGGED" for block in ragged]
    options += ["PARTS_BLOCK"] if mode == "split" else []
    options += ["IDX", "STAGES"]
    head = ", ".join([*code.declared, *more, *(f"{option}: tl.constexpr" for option in options)])
    source = "\n".join([f"@triton.jit\ndef {name}({head}):", *code.lines])
    passed = [*code.passed, *more, *(f"{b}={b}" for b in groups)]
    passed += [f"{b}_EVEN=({text(g.extent)}) % {b} == 0" for b, g in groups.items()]
    passed += [f"{b}_RAGGED=({text(groups[b].extent)}) % 8 != 0" for b in ragged]
    passed += ["PARTS_BLOCK=p2(PARTS)"] if mode == "split" else []
    elements = " * ".join([b for b in groups if not b.startswith("BK")] + _longest(groups)) or "1"
    columns = "BC" in groups and bool(_longest(groups))
    lane, stages = tuned(point, "lane_elements"), tuned(point, "stages")
    lane = _LANE[columns] if lane == "auto" else lane
    passed += ["IDX=IDX", f"STAGES={_STAGES[columns] if stages == 'auto' else stages}"]
    if not _longest(groups) and mode == "row" and sum("tl.load(" in line for line in code.lines) >= _MANY_LOADS:
        mode = "map"
    lane = min(lane, 4) if mode == "window" else max(lane // _SHARE.get(mode, 1), 1)
    passed.append(f"num_warps=warps({elements}, {lane})")
    grid = f"({tile_count(shape.outer)}, {'PARTS' if shape.shared else '1'})"
    return Piece(name, source, [*blocks, f"{name}[{grid}]({', '.join(passed)})"])


def tile_count(outer: tuple[Group, ...]) -> str:
    """How many tiles cover the outer axes, as Python."""
    return " * ".join(f"-(-({text(g.extent)}) // {g.block})" if g.block else f"({text(g.extent)})" for g in outer) or "1"


def _longest(groups: Mapping[str, Group]) -> list[str]:
    inner = [name for name in groups if name.startswith("BK")]
    return [f"max({', '.join(inner)})"] if len(inner) > 1 else inner


RUNTIME = '''
def p2(n):
    """The least power of two that is at least n."""
    return 1 << max(n - 1, 0).bit_length()


def warps(elements, each):
    """Warps for a tile, so that a thread has about ``each`` elements."""
    return max(1, min(p2(elements // (32 * each)), 16 if elements <= 32768 else 32))
'''
"""Functions that the launches call."""

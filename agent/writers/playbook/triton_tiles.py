"""Tiles of matrix products, and the choice of one by the sizes at hand; emitted into kernels as it stands (:data:`RUNTIME`)."""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Callable, Sequence

import torch

Tile = tuple[int, int, int, int, int]
"""BM, BN, BK, warps, stages."""

TILES16: tuple[Tile, ...] = (
    (128, 256, 64, 8, 3),
    (128, 128, 64, 8, 4),
    (128, 128, 64, 4, 4),
    (64, 128, 64, 4, 4),
    (64, 64, 64, 4, 4),
    (32, 64, 64, 4, 4),
    (16, 64, 128, 4, 4),
    (64, 256, 64, 8, 4),
)
"""For two-byte operands."""
TILES32: tuple[Tile, ...] = (
    (128, 128, 32, 8, 3),
    (128, 64, 32, 8, 3),
    (64, 64, 32, 4, 3),
    (64, 128, 32, 8, 3),
    (32, 64, 32, 4, 3),
    (16, 64, 32, 4, 3),
)
"""For four-byte operands."""
UNITS = 132
"""Multiprocessors to keep busy where there is no GPU to ask: an H100's."""


def tile_for(m: int, n: int, s: int, tiles: Sequence[Tile]) -> Tile:
    """The first tile that gives every multiprocessor work on s products of m by n, else the one with most programs."""

    def programs(tile: Tile) -> int:
        return -(-m // tile[0]) * -(-n // tile[1]) * s

    good = [tile for tile in tiles if tile[0] < 2 * max(m, 16) and tile[1] < 2 * max(n, 32)] or list(tiles)
    return next((tile for tile in good if programs(tile) >= UNITS - 12), max(good, key=programs))


@functools.cache
def units(device: torch.device) -> int:
    """Multiprocessors of the device."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else UNITS


def _source(function: Callable[..., object]) -> str:
    """The function's text without its annotations, whose names a kernel's file lacks."""
    tree = ast.parse(inspect.getsource(inspect.unwrap(function)))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
    return ast.unparse(tree)


RUNTIME = "\n\n\n".join([f"UNITS = {UNITS}\nTILES16 = {TILES16}\nTILES32 = {TILES32}", _source(tile_for), _source(units)])
"""What launches of products call."""


def name_of(tile: Tile) -> str:
    """A tile as text: ``128x256x64x8x3``."""
    return "x".join(map(str, tile))

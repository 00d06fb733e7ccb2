"""What kind of kernel an attempt is: the cell of the MAP-Elites archive that it competes in.

Descriptors after KernelFoundry (arXiv 2603.12440), which takes levels 0 to 3 of kernel-specific techniques from the
code's text, so that the same code always has the same cell: here how it uses memory and how it is parallel. Its level of
algorithmic effort is replaced by two that need no judgement of an algorithm: the bottleneck that was measured, and the
size of the code in powers of two (OpenEvolve's "complexity").

They say what a text mentions, not what it gains by it: a technique under another name is not seen, and one in dead code
is. A wrong cell costs diversity, never a verdict.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import NamedTuple

from kernelwright.memory.lessons import bottleneck
from kernelwright.tasks.records import Attempt

LEVELS = 3
"""The highest level: so many techniques, or more."""

_COMMENT = re.compile(r"(?m)^[ \t]*(?://|#(?!\s*(?:pragma|include|define|if|else|endif)\b))[^\n]*$|(?s:/\*.*?\*/)")
"""Lines that are nothing but a comment, and block comments; ``//`` after code may be Python's division."""
_MEMORY = (
    r"__shared__|\btl\.dot\b|num_stages|cp\.async|alignas|aligned_alloc|\bpack(?:ed)?\w*\s*[\[(]|scratch",  # staged close by
    r"float4|\bint4\b|_load(?:u)?_p|max_contiguous|multiple_of|__restrict__.*aligned|assume_aligned",  # wide, aligned
    r"prefetch|evict_|__ldg|nontemporal|_stream_p|MADV_HUGEPAGE|cache_modifier",  # what stays in caches
    r"\+=\s*(?:[A-Z]*BLOCK\w*|TILE\w*|tile\w*|block\w*|chunk\w*|[MKN]C|[mkn]c)\b|range\([^)\n]*BLOCK",  # tile by tile
)
_PARALLEL = (
    r"omp\s+parallel|program_id|blockIdx|parallel_for",  # threads or blocks
    r"omp\s+simd|for\s+simd|_mm\d*_|vector_size|\btl\.arange|threadIdx",  # lanes
    r"reduction\s*\(|atomic|__shfl|partial|collapse\s*\(|split_k|SPLIT",  # one result by many
    r"\btl\.dot\b|wmma|\bmma\b|_tile_dp|num_programs|cooperative|warp_specialize",  # matrix units, persistent
)


class Cell(NamedTuple):
    """A place of the archive."""

    bottleneck: str
    memory: int
    """0 to 3: techniques of memory use that the text mentions."""
    parallel: int
    """0 to 3: likewise of parallelism."""
    size: int
    """The exponent of two above the characters of the code, without comments and blanks."""


def cell(attempt: Attempt) -> Cell:
    """The cell of a kernel; of an answer without one that of an empty text."""
    return Cell(bottleneck(attempt.verdict), *_of_text(attempt.answer.kernel.source if attempt.answer.kernel else ""))


@functools.lru_cache(maxsize=512)
def _of_text(source: str) -> tuple[int, int, int]:
    code = _COMMENT.sub("", source)
    return _level(_MEMORY, code), _level(_PARALLEL, code), len("".join(code.split())).bit_length()


def _level(techniques: Sequence[str], code: str) -> int:
    return min(LEVELS, sum(re.search(pattern, code) is not None for pattern in techniques))

"""Hashed character n-grams: an embedding with no model, no download and no randomness.

Words that mean the same in this trade are brought together first by a small map (``gemm`` and ``linear`` are
``matmul``), which is what character n-grams alone cannot know.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DIMENSIONS = 384
EMBEDDER = "char-ngrams-384-v1"
"""Changes with anything that changes vectors: an index made by another embedder is rebuilt."""

_GROUPS = {
    "matmul": (
        "mm bmm gemm gemv addmm baddbmm linear dense dot einsum matvec mma wmma wgmma mfma tensorcore "
        "projection outer"
    ),
    "convolution": "conv conv1d conv2d conv3d convtranspose depthwise im2col winograd stencil deconvolution",
    "reduction": (
        "reduce sum mean amax amin argmax argmin min max prod any all var std cumsum cumprod scan aggregate "
        "norm2"
    ),
    "normalization": (
        "norm layernorm rmsnorm batchnorm groupnorm instancenorm rms standardize variance normalize"
    ),
    "softmax": "logsoftmax logsumexp lse softmin sumexp",
    "attention": "sdpa flash qkv mha gqa mqa heads scaleddotproductattention kvcache",
    "activation": (
        "relu gelu silu swish sigmoid tanh mish elu leakyrelu softplus hardswish swiglu geglu glu pointwise "
        "elementwise"
    ),
    "pooling": "pool maxpool avgpool adaptivepool pool2d window",
    "gather": (
        "index indexselect embedding scatter lookup take gatherscatter indexing indexadd topk sort permute"
    ),
    "loss": "crossentropy nll mse bce kldiv huber hinge cosinesimilarity triplet",
    "sparse": "csr coo spmm spmv bsr ragged jagged nested",
    "optimizer": "adam adamw sgd lamb momentum",
    "broadcast": "expand bias addbias outeradd rowwise columnwise",
    "resize": "interpolate upsample bilinear bicubic nearest downsample gridsample",
    "memory": (
        "bandwidth coalesce coalesced coalescing uncoalesced traffic dram hbm vectorize vectorized stream "
        "loads stores"
    ),
    "compute": "flops arithmetic throughput alu tensorcores saturation",
    "latency": "launch overhead occupancy stall serial tiny underutilized",
    "registers": "spill spills spilling pressure regs",
    "bounds": "outofbounds oob mask masked segfault overrun tail unaligned remainder illegal",
    "precision": "accuracy tolerance rounding error mismatch incorrect accumulate overflow underflow nan",
    "compile": "build compiler syntax undeclared undefined linker nvcc gcc",
    "simd": "avx avx2 avx512 neon vector vectorise intrinsics",
    "parallel": "openmp omp threads threading multithreaded blocks programs",
    "tile": "tiling block blocking blocked blocksize tilesize",
    "fusion": "fuse fused fusing epilogue prologue",
}
_CANONICAL = {word: name for name, words in _GROUPS.items() for word in words.split()}
_TOKEN = re.compile(r"[A-Z]{2,}s?(?![a-z])|[A-Z]?[a-z]+|[A-Z]|\d+")


def tokens(text: str) -> list[str]:
    """Lower-case words of prose and identifiers (``rms_norm``, ``LayerNorm2d``), each followed by its group."""
    words = [m.group().lower() for m in _TOKEN.finditer(text)]
    out: list[str] = []
    for i, word in enumerate(words):
        out.append(word)
        pair = word + words[i + 1] if i + 1 < len(words) else ""
        stem = word[:-1] if word.endswith("s") and len(word) > 3 else word
        out.extend(dict.fromkeys(_CANONICAL[form] for form in (word, stem, pair) if form in _CANONICAL))
    return out


def embed(texts: Sequence[str]) -> NDArray[np.float32]:
    """Unit vectors of ``texts``: float32, shape (len(texts), 384). Equal texts give equal vectors on every machine.

    Each n-gram adds one, by the sign of its hash, to the entry that its hash gives (Weinberger et al. 2009).
    """
    import numpy as np

    made = np.zeros((len(texts), DIMENSIONS))
    for row, text in zip(made, texts, strict=True):
        for word in tokens(text) or ["empty"]:
            for entry, sign in _entries(word):
                row[entry] += sign
    norms = np.sqrt((made**2).sum(axis=1, keepdims=True))
    return np.asarray(made / np.where(norms == 0.0, 1.0, norms), dtype=np.float32)


@lru_cache(maxsize=1 << 16)
def _entries(word: str) -> tuple[tuple[int, float], ...]:
    """(entry, sign) of each n-gram of 3 to 5 letters of the word between blanks; a shorter word counts once, as it is."""
    from mmh3 import hash as murmur

    word, found = f" {word} ", []
    for size in (3, 4, 5):
        found += [murmur(word[i : i + size], 0, signed=True) for i in range(max(1, len(word) - size + 1))]
        if len(word) <= size:
            break
    return tuple((abs(value) % DIMENSIONS, 1.0 if value >= 0 else -1.0) for value in found)

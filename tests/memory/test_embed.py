"""The embedder: the same everywhere, and it knows the trade's words."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from kernelwright.memory.embed import DIMENSIONS, embed, tokens

NOTES = {
    "softmax": "numerically stable softmax over rows: subtract the maximum, exponentiate, divide by the sum",
    "matmul": "blocked matrix product: tile the operands, accumulate in registers, walk along K",
    "convolution": "two-dimensional convolution over channels with padding and stride",
    "normalization": "normalise each row by its mean and variance, then scale and shift by the parameters",
    "reduction": "sum along the last dimension with several independent accumulators",
    "activation": "elementwise activation function applied to every value of a tensor",
    "pooling": "maximum over windows that slide over an image",
    "gather": "rows of a table picked by integer positions",
    "loss": "negative log likelihood of the target class, averaged over the batch",
    "attention": "scaled dot product of queries and keys, weights applied to values",
    "resize": "interpolate an image to another resolution",
    "spill": "too many values live at once: registers spill to local memory",
    "bandwidth": "loads that are not coalesced waste memory bandwidth",
    "bounds": "a store without a mask runs past the end of the array",
}
QUERIES = {
    "log_softmax": "softmax",
    "torch.bmm batched gemm": "matmul",
    "nn.Linear dense layer": "matmul",
    "Conv2d": "convolution",
    "RMSNorm": "normalization",
    "layer_norm": "normalization",
    "torch.sum row sums": "reduction",
    "GELU": "activation",
    "silu swish": "activation",
    "MaxPool2d": "pooling",
    "embedding lookup index_select": "gather",
    "cross_entropy": "loss",
    "flash attention sdpa": "attention",
    "bilinear upsample": "resize",
    "register pressure spilling": "spill",
    "uncoalesced vectorized loads from HBM": "bandwidth",
    "out-of-bounds write segfault": "bounds",
}


def test_vectors_are_unit_float32_and_equal_for_equal_texts():
    vectors = embed(["softmax", "fused matmul", "softmax", ""])
    assert vectors.shape == (4, DIMENSIONS)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-5)
    np.testing.assert_array_equal(vectors[0], vectors[2])


def test_vectors_do_not_depend_on_the_process():
    code = "from kernelwright.memory.embed import embed; print(embed(['rms_norm over rows'])[0].tobytes().hex())"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert said == embed(["rms_norm over rows"])[0].tobytes().hex()


@pytest.mark.parametrize(
    ("text", "group"),
    [("LayerNorm2d", "normalization"), ("rms_norm", "normalization"), ("F.conv2d", "convolution"), ("GEMMs", "matmul")],
)
def test_identifiers_are_split_and_brought_to_their_group(text, group):
    assert group in tokens(text)


def test_queries_find_what_they_mean():
    names = list(NOTES)
    ranks = np.argsort(-embed(list(QUERIES)) @ embed([f"{n} {NOTES[n]}" for n in names]).T, axis=1)
    first = [names[r[0]] == want for r, want in zip(ranks, QUERIES.values(), strict=True)]
    top3 = [want in [names[i] for i in r[:3]] for r, want in zip(ranks, QUERIES.values(), strict=True)]
    assert sum(first) / len(first) >= 0.8, [q for q, ok in zip(QUERIES, first, strict=True) if not ok]
    assert all(top3), [q for q, ok in zip(QUERIES, top3, strict=True) if not ok]


def test_vectors_are_those_that_stores_already_hold():
    """Those of scikit-learn's HashingVectorizer (char_wb, 3 to 5), with which the first stores were written."""
    assert {int(i): float(embed(["a"])[0, i]) for i in embed(["a"])[0].nonzero()[0]} == {312: -1.0}
    made = embed(["a ab ünï", "fp16 gemm", "", "LayerNorm2d over rows, 4096 wide"])
    assert hashlib.sha256(made.tobytes()).hexdigest()[:16] == "ea22e6f093ec321c"

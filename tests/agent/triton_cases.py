"""References in KernelBench's form and the sizes they are traced and run at: for tests of the playbook's Triton kernels."""

from __future__ import annotations

from typing import Any

HEAD = "import torch\nfrom torch import nn\nimport torch.nn.functional as F\n"


def reference(sizes: str, forward: str, inputs: str, init: str = "", arguments: str = "x") -> str:
    """A reference in KernelBench's form."""
    return f"""{HEAD}{sizes}

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        {init or "pass"}

    def forward(self, {arguments}):
        return {forward}

def get_inputs():
    return [{inputs}]

def get_init_inputs():
    return []
"""


ROWS = "n, m = 4096, 4096"
CASES: dict[str, tuple[str, list[str], str, list[dict[str, Any]]]] = {
    # name: (source, sizes traced, sizes run, points)
    "softmax": (
        reference(ROWS, "torch.softmax(x, -1)", "torch.randn(n, m)"),
        [ROWS, "n, m = 33, 129"],
        "n, m = 7, 301",
        [
            {},
            {"row_tile": 16384},
            {"schedule": "loop", "loop_tile": 64},
            {"schedule": "loop", "loop_tile": 64, "online_unroll": 1},
            {"schedule": "split"},
        ],
    ),
    "layer_norm": (
        reference(ROWS, "self.f(x)", "torch.randn(n, m)", "self.f = nn.LayerNorm(m)"),
        [ROWS, "n, m = 33, 129"],
        "n, m = 5, 203",
        [{}, {"schedule": "loop", "loop_tile": 32}, {"schedule": "split"}, {"row_tile": 16384}],
    ),
    "sum_all": (
        reference(ROWS, "(x * x).mean()", "torch.randn(n, m)"),
        [ROWS, "n, m = 33, 129"],
        "n, m = 61, 67",
        [{}, {"schedule": "loop", "loop_tile": 512}],
    ),
    "row_sum_ragged": (
        reference(ROWS, "x.sum(-1)", "torch.randn(n, m)"),
        ["n, m = 4096, 50257", "n, m = 33, 129"],
        "n, m = 9, 77",
        [{}, {"loop_tile": 16}],
    ),
    "row_sum_tiny": (
        reference(ROWS, "x.sum(-1)", "torch.randn(n, m)"),
        ["n, m = 4096, 50257", "n, m = 33, 129"],
        "n, m = 11, 3",
        [{}],
    ),
    "softmax_column": (
        reference("n, c, m = 8, 512, 256", "torch.softmax(x, 1)", "torch.randn(n, c, m)"),
        ["n, c, m = 8, 512, 256", "n, c, m = 3, 7, 65"],
        "n, c, m = 2, 19, 37",
        [{}, {"schedule": "loop", "loop_tile": 128}, {"schedule": "split"}],
    ),
    "column_sum": (
        reference(ROWS, "x.sum(0)", "torch.randn(n, m)"),
        [ROWS, "n, m = 33, 129"],
        "n, m = 41, 37",
        [{}, {"schedule": "row"}],
    ),
    "row_mean": (reference(ROWS, "x.mean(1)", "torch.randn(n, m)"), [ROWS, "n, m = 33, 129"], "n, m = 7, 301", [{}]),
    "reduced_again": (  # over the one element that a reduction left
        reference(
            ROWS, "F.gelu(x.amax(1, keepdim=True) * 2 - x.amax(1, keepdim=True).mean(1, keepdim=True))", "torch.randn(n, m)"
        ),
        [ROWS, "n, m = 33, 129"],
        "n, m = 7, 301",
        [{}],
    ),
    "argmax": (
        reference(ROWS, "x.argmax(-1)", "torch.randn(n, m)"),
        [ROWS, "n, m = 33, 129"],
        "n, m = 6, 77",
        [{}, {"schedule": "loop", "loop_tile": 16}, {"schedule": "split"}],
    ),
    "cumsum": (
        reference(ROWS, "torch.cumsum(x, 1)", "torch.randn(n, m)"),
        [ROWS, "n, m = 33, 129"],
        "n, m = 5, 301",
        [{}, {"schedule": "loop", "loop_tile": 64}],
    ),
    "cross_entropy": (
        reference(ROWS, "F.cross_entropy(x, t)", "torch.randn(n, m), torch.randint(0, m, (n,))", arguments="x, t"),
        [ROWS, "n, m = 33, 129"],
        "n, m = 21, 131",
        [{}, {"schedule": "loop", "loop_tile": 64}],
    ),
    "transposed_map": (
        reference(ROWS, "torch.tanh(x.t() + b[:, None]).contiguous()", "torch.randn(n, m), torch.randn(m)", arguments="x, b"),
        [ROWS, "n, m = 33, 129"],
        "n, m = 35, 50",
        [{}],
    ),
    "linear_relu": (
        reference("n, k, m = 2048, 2048, 2048", "torch.relu(self.f(x))", "torch.randn(n, k)", "self.f = nn.Linear(k, m)"),
        ["n, k, m = 2048, 2048, 2048", "n, k, m = 17, 33, 65"],
        "n, k, m = 37, 130, 45",
        [{}, {"split_k": 4}, {"tile32": "16x64x32x4x3", "precision": "ieee", "swizzle": 1}],
    ),
    "product": (
        reference("n, k, m = 2048, 2048, 2048", "x @ w", "torch.randn(n, k), torch.randn(k, m)", arguments="x, w"),
        ["n, k, m = 2048, 2048, 2048", "n, k, m = 17, 33, 65"],
        "n, k, m = 37, 130, 45",
        [{}, {"dense": "off"}],
    ),
    "product_left_transposed": (
        reference("n, k, m = 2048, 2048, 2048", "x.t() @ w", "torch.randn(k, n), torch.randn(k, m)", arguments="x, w"),
        ["n, k, m = 2048, 2048, 2048", "n, k, m = 17, 33, 65"],
        "n, k, m = 37, 130, 45",
        [{}],
    ),
    "conv2d": (
        reference(
            "b, c, o, h, w = 8, 32, 32, 28, 28", "self.f(x)", "torch.randn(b, c, h, w)", "self.f = nn.Conv2d(c, o, 3, 2, 1)"
        ),
        ["b, c, o, h, w = 8, 32, 32, 28, 28", "b, c, o, h, w = 2, 5, 9, 7, 9"],
        "b, c, o, h, w = 2, 5, 9, 11, 14",
        [{}, {"split_k": 2}],
    ),
    "pointwise": (
        reference("b, c, o, h, w = 8, 64, 128, 32, 32", "self.f(x)", "torch.randn(b, c, h, w)", "self.f = nn.Conv2d(c, o, 1)"),
        ["b, c, o, h, w = 8, 64, 128, 32, 32", "b, c, o, h, w = 2, 5, 9, 7, 9"],
        "b, c, o, h, w = 2, 5, 9, 11, 14",
        [{}],
    ),
    "conv_transpose2d": (
        reference(
            "b, c, o, h, w = 8, 32, 32, 28, 28",
            "self.f(x)",
            "torch.randn(b, c, h, w)",
            "self.f = nn.ConvTranspose2d(c, o, (4, 3), (2, 3), (1, 0))",
        ),
        ["b, c, o, h, w = 8, 32, 32, 28, 28", "b, c, o, h, w = 2, 5, 9, 7, 9"],
        "b, c, o, h, w = 2, 5, 9, 5, 6",
        [{}, {"dense": "off"}],
    ),
    "conv_transpose2d_dilated": (
        reference(
            "b, c, o, h, w = 4, 32, 32, 28, 28",
            "self.f(x)",
            "torch.randn(b, c, h, w)",
            "self.f = nn.ConvTranspose2d(c, o, 3, 5, 1, 2, 2, True, 2)",
        ),
        ["b, c, o, h, w = 4, 32, 32, 28, 28", "b, c, o, h, w = 2, 6, 8, 7, 9"],
        "b, c, o, h, w = 2, 6, 8, 5, 6",
        [{}],
    ),
    "batched_product": (
        reference(
            "b, n, k, m = 16, 512, 512, 1024", "torch.bmm(x, w)", "torch.randn(b, n, k), torch.randn(b, k, m)", arguments="x, w"
        ),
        ["b, n, k, m = 16, 512, 512, 1024", "b, n, k, m = 2, 17, 33, 65"],
        "b, n, k, m = 2, 37, 66, 20",
        [{}],
    ),
    "max_pool2d": (
        reference("b, c, h, w = 8, 32, 28, 28", "F.max_pool2d(x, 3, 2, 1)", "torch.randn(b, c, h, w)"),
        ["b, c, h, w = 8, 32, 28, 28", "b, c, h, w = 2, 5, 7, 9"],
        "b, c, h, w = 2, 5, 11, 14",
        [{}, {"outer_tile": "flat"}],
    ),
    "stencil": (
        reference(
            "b, h, w = 4, 256, 256",
            "x - (lambda p: p[:, 1:-1, :-2] + p[:, 1:-1, 2:] + p[:, :-2, 1:-1] + p[:, 2:, 1:-1])(F.pad(x, (1, 1, 1, 1)))",
            "torch.randn(b, h, w)",
        ),
        ["b, h, w = 4, 256, 256", "b, h, w = 2, 7, 9"],
        "b, h, w = 2, 11, 33",
        [{}, {"outer_tile": "flat"}],
    ),
    "resize": (
        reference(
            "b, h, w = 16, 64, 128",
            "F.interpolate(x, scale_factor=2, mode='bilinear', align_corners=False)",
            "torch.randn(b, 3, h, w)",
        ),
        ["b, h, w = 16, 64, 128", "b, h, w = 2, 5, 9"],
        "b, h, w = 2, 7, 21",
        [{}, {"outer_tile": "flat"}],
    ),
    "scatter": (
        reference(
            ROWS, "torch.zeros(n, m).index_add(0, t, x)", "torch.randn(n, m), torch.randint(0, n, (n,))", arguments="x, t"
        ),
        [ROWS, "n, m = 33, 129"],
        "n, m = 19, 23",
        [{}],
    ),
}

ENDS = "torch.cat((torch.tensor([0]), torch.randint(0, z + 1, (n - 1,)).sort().values, torch.tensor([z])))"
"""Where rows of a compressed sparse matrix start and end: of uneven length, some empty."""
TIES = "torch.randint(0, 9, (n, m)).float()"
CASES |= {
    "sort": (
        reference(ROWS, "torch.sort(x, -1).values * 2", "torch.randn(n, m)"),
        [ROWS, "n, m = 33, 129"],
        "n, m = 5, 301",
        [{}, {"order_tile": 1024, "order_lane": 8}, {"order_run": 64, "merge_block": 128}],
    ),
    "sort_places": (
        reference(ROWS, "torch.sort(x, dim=-1, descending=True, stable=True).indices", TIES),
        [ROWS, "n, m = 33, 129"],
        "n, m = 5, 301",
        [{}, {"order_run": 64}],
    ),
    "sort_columns": (
        reference(ROWS, "torch.sort(x, 0, descending=True).values", "torch.randn(n, m)"),
        [ROWS, "n, m = 33, 129"],
        "n, m = 67, 19",
        [{}, {"order_run": 16}],
    ),
    "sort_integers": (
        reference(ROWS, "torch.sort(x, -1).values", "torch.randint(-(2**40), 2**40, (n, m))"),
        [ROWS, "n, m = 33, 129"],
        "n, m = 3, 77",
        [{}],
    ),
    "topk": (
        reference(ROWS, "torch.topk(x, 5).values", "torch.randn(n, m)"),
        [ROWS, "n, m = 33, 129"],
        "n, m = 6, 301",
        [{}, {"order_tile": 64}, {"order_tile": 1}],
    ),
    "topk_least": (
        reference(ROWS, "torch.topk(x, 1, largest=False).values", "torch.randn(n, m)"),
        [ROWS, "n, m = 33, 129"],
        "n, m = 6, 77",
        [{}, {"order_tile": 16}],
    ),
    "topk_places": (
        reference(ROWS, "torch.topk(x, 3, dim=0).indices", "torch.randn(n, m)"),
        [ROWS, "n, m = 33, 129"],
        "n, m = 77, 6",
        [{}, {"order_tile": 16}],
    ),
    "histogram": (
        reference(
            ROWS, "torch.bincount(x, minlength=b.shape[0])", "torch.randint(0, n, (m,)).int(), torch.zeros(n)", arguments="x, b"
        ),
        ["n, m = 256, 4096", "n, m = 33, 129"],
        "n, m = 77, 5003",
        [{}, {"count_block": 1024, "count_programs": 2}],
    ),
    "histogram_many": (  # more bins than a program holds
        reference(
            ROWS, "torch.bincount(x, minlength=b.shape[0])", "torch.randint(0, n, (m,)).int(), torch.zeros(n)", arguments="x, b"
        ),
        ["n, m = 256, 4096", "n, m = 33, 129"],
        "n, m = 5003, 1001",
        [{}],
    ),
    "weighted_histogram": (
        reference(
            ROWS,
            "torch.bincount(x, w, minlength=b.shape[0]).float()",
            "torch.randint(0, n, (m,)), torch.rand(m), torch.zeros(n)",
            arguments="x, w, b",
        ),
        ["n, m = 256, 4096", "n, m = 33, 129"],
        "n, m = 77, 1003",
        [{}],
    ),
    "embedding_bag": (
        reference(
            "n, k, m = 1000, 12, 64",
            "F.embedding_bag(i, t, mode='sum')",
            "torch.randint(0, 4 * n, (n, k)), torch.randn(4 * n, m)",
            arguments="i, t",
        ),
        ["n, k, m = 1000, 12, 64", "n, k, m = 33, 5, 129"],
        "n, k, m = 21, 7, 77",
        [{}, {"schedule": "loop", "loop_tile": 64}],
    ),
    "embedding_bag_mean": (
        reference(
            "n, k, m = 1000, 12, 64",
            "F.embedding_bag(i, t)",
            "torch.randint(0, 4 * n, (n, k)), torch.randn(4 * n, m)",
            arguments="i, t",
        ),
        ["n, k, m = 1000, 12, 64", "n, k, m = 33, 5, 129"],
        "n, k, m = 21, 7, 77",
        [{}],
    ),
    "embedding_bag_uneven": (
        reference(
            "n, z, m = 1000, 4096, 64",
            "F.embedding_bag(i, t, o[:-1], mode='sum', per_sample_weights=w)",
            f"torch.randint(0, n, (z,)), torch.randn(n, m), {ENDS}, torch.rand(z)",
            arguments="i, t, o, w",
        ),
        ["n, z, m = 1000, 4096, 64", "n, z, m = 33, 129, 65"],
        "n, z, m = 21, 307, 37",
        [{}, {"span_tile": 8, "column_block": 32}],
    ),
    "csr_spmm": (
        reference(
            "n, z, m = 1000, 4096, 64",
            "torch.segment_reduce(v[:, None] * x[c], 'sum', offsets=o, axis=0, initial=0)",
            f"{ENDS}, torch.randint(0, n, (z,)), torch.randn(z), torch.randn(n, m)",
            arguments="o, c, v, x",
        ),
        ["n, z, m = 1000, 4096, 64", "n, z, m = 33, 129, 65"],
        "n, z, m = 21, 307, 37",
        [{}, {"span_tile": 8, "column_block": 32}],
    ),
    "spectrum": (
        reference(ROWS, "torch.view_as_real(torch.fft.rfft(x * 2))", "torch.randn(n, m)"),
        [ROWS, "n, m = 33, 128"],
        "n, m = 5, 512",
        [{}, {"spectrum_lane": 32, "spectrum_tile": 512}],
    ),
    "spectrum_short": (
        reference(ROWS, "torch.view_as_real(torch.fft.rfft(x))", "torch.randn(n, m)"),
        [ROWS, "n, m = 33, 128"],
        "n, m = 35, 4",
        [{}],
    ),
    "csr_spmv": (
        reference(
            "n, z = 1000, 4096",
            "torch.segment_reduce(v * x[c], 'sum', offsets=o, initial=0)",
            f"{ENDS}, torch.randint(0, n, (z,)), torch.randn(z), torch.randn(n)",
            arguments="o, c, v, x",
        ),
        ["n, z = 1000, 4096", "n, z = 33, 129"],
        "n, z = 21, 307",
        [{}, {"span_tile": 8}],
    ),
}

STRIDED = reference(
    "b, c, o, h, k, s, p = 8, 3, 16, 16, 3, 2, 1",
    "F.relu(self.f(x))",
    "torch.randn(b, c, h, h, h)",
    "self.f = nn.ConvTranspose3d(c, o, k, stride=s, padding=p)",
)
TRACED = [f"b, c, o, h, k, s, p = {sizes}" for sizes in ("8, 3, 16, 16, 3, 2, 1", "2, 2, 8, 6, 5, 3, 2", "3, 4, 9, 5, 2, 1, 0")]
CASES |= {  # strides and windows that differ between the traces: those of the first, and others
    "strides_of_the_first": (STRIDED, TRACED, "b, c, o, h, k, s, p = 2, 3, 10, 4, 3, 2, 1", [{}]),
    "strides_of_another": (STRIDED, TRACED, "b, c, o, h, k, s, p = 2, 2, 8, 3, 5, 3, 2", [{}]),
    "equal_layers": (
        reference(
            "b, c, h = 4, 32, 16",
            "self.f(x)",
            "torch.randn(b, c, h, h)",
            "self.f = nn.Sequential(*(layer for _ in range(4) for layer in (nn.Conv2d(c, c, 3, 1, 1), nn.Tanh())))",
        ),
        ["b, c, h = 4, 32, 16", "b, c, h = 2, 8, 4"],
        "b, c, h = 2, 8, 4",
        [{}],
    ),
}

HEADS = "b, h, l, w = 4, 16, 512, 64"
QKV = "torch.randn(b, h, l, w), torch.randn(b, h, l, w), torch.randn(b, h, l, w)"
CASES |= {
    "attention": (
        reference(HEADS, "F.scaled_dot_product_attention(q, k, v)", QKV, arguments="q, k, v"),
        [HEADS, "b, h, l, w = 2, 3, 33, 16"],
        "b, h, l, w = 2, 2, 37, 20",
        [{}],
    ),
    "attention_causal": (
        reference(HEADS, "F.scaled_dot_product_attention(q, k, v, is_causal=True)", QKV, arguments="q, k, v"),
        [HEADS, "b, h, l, w = 2, 3, 33, 16"],
        "b, h, l, w = 2, 2, 37, 20",
        [{}, {"attention": "off"}],
    ),
    "attention_decode": (
        reference(
            HEADS,
            "F.scaled_dot_product_attention(q, k, v, enable_gqa=True)",
            "torch.randn(b, h, l, w), torch.randn(b, 3 * h, 1, w), torch.randn(b, h, l, w)",
            arguments="k, q, v",
        ),
        [HEADS, "b, h, l, w = 2, 3, 33, 16"],
        "b, h, l, w = 2, 2, 37, 20",
        [{}],
    ),
    "attention_written_out": (
        reference(
            HEADS,
            "(q @ k.mT / w**0.5).masked_fill(torch.ones(l, l, dtype=torch.bool, device=q.device).triu(1), float('-inf'))"
            ".softmax(-1) @ v",
            QKV,
            arguments="q, k, v",
        ),
        [HEADS, "b, h, l, w = 2, 3, 33, 16"],
        "b, h, l, w = 2, 2, 37, 20",
        [{}],
    ),
}

LARGE: dict[str, tuple[str, str, str]] = {
    # name: (sizes, kernels of fp32, of fp16) where sizes and addresses allow the forms for large products
    "linear_relu": ("n, k, m = 136, 40, 264", "split", "tma"),
    "product": ("n, k, m = 136, 40, 264", "split", "tma"),
    "product_left_transposed": ("n, k, m = 136, 40, 264", "packed", "tma"),
    "batched_product": ("b, n, k, m = 3, 136, 64, 264", "packed", "tma"),
    "pointwise": ("b, c, o, h, w = 2, 64, 136, 12, 22", "packed", "tma"),
    "conv2d": ("b, c, o, h, w = 2, 20, 24, 19, 13", "packed", "image"),
    "conv_transpose2d": ("b, c, o, h, w = 2, 20, 24, 9, 13", "packed", "image"),
    "conv_transpose2d_dilated": ("b, c, o, h, w = 2, 36, 48, 8, 11", "packed", "image"),
    "attention": ("b, h, l, w = 2, 2, 150, 24", "packed", "attention"),
    "attention_causal": ("b, h, l, w = 2, 2, 152, 16", "packed", "attention"),
    "attention_decode": ("b, h, l, w = 2, 2, 600, 16", "k1", "attention_join"),
    "attention_written_out": ("b, h, l, w = 2, 2, 150, 24", "packed", "attention"),
}

COMPILED: dict[str, tuple[str, dict[str, Any], str]] = {
    # name: (sizes, point, an instruction that must be there)
    "attention_decode": ("b, h, l, w = 4, 8, 4096, 128", {}, "UTMALDG.*"),
    "softmax": ("n, m = 64, 8192", {}, "LDG.E.128"),
    "layer_norm": ("n, m = 64, 4096", {}, "LDG.E.128"),
    "row_sum_ragged": ("n, m = 64, 50257", {}, "LDG(STS)?.E(.BYPASS)?.*128"),
    "row_mean": ("n, m = 64, 1", {}, "STG"),  # Triton hands an argument that is 1 to the compiler as a plain number
    "linear_relu": ("n, k, m = 2048, 2048, 2048", {}, "HGMMA"),
    "product": ("n, k, m = 2048, 2048, 2048", {}, "UTMALDG.*"),
    "product_left_transposed": ("n, k, m = 2048, 2048, 2048", {}, "UTMALDG.*"),
    "stencil": ("b, h, w = 2, 64, 256", {}, "LDG.E.(64|128)"),
    "transposed_map": ("n, m = 64, 64", {}, "STG.E.128"),
    "sort": ("n, m = 64, 1024", {}, "LDG.E.(64|128)"),
    "topk": ("n, m = 64, 256", {}, "SHFL.BFLY"),
    "histogram": ("n, m = 256, 8192", {}, "(ATOM|RED)G?.E.ADD.*"),
    "spectrum": ("n, m = 64, 2048", {}, "STS.*"),
    "csr_spmm": ("n, z, m = 64, 1024, 64", {}, "LDG.E.*"),
}

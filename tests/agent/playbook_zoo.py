"""Small references in KernelBench's convention for the playbook's tests: what it must write correct kernels for."""

from __future__ import annotations

HEAD = "import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n\n"


def function(body: str, inputs: str, sizes: str = "N = 6\nM = 40", arguments: str = "x") -> str:
    """A reference without parameters."""
    lines = "\n".join(f"        {line}" for line in body.splitlines())
    return (
        f"{HEAD}{sizes}\n\n\nclass Model(nn.Module):\n    def __init__(self):\n        super().__init__()\n\n"
        f"    def forward(self, {arguments}):\n{lines}\n\n\n"
        f"def get_inputs():\n    return [{inputs}]\n\n\ndef get_init_inputs():\n    return []\n"
    )


def module(init: str, body: str, inputs: str, init_inputs: str, sizes: str, signature: str, arguments: str = "x") -> str:
    """A reference with parameters."""
    made = "\n".join(f"        {line}" for line in init.splitlines())
    lines = "\n".join(f"        {line}" for line in body.splitlines())
    return (
        f"{HEAD}{sizes}\n\n\nclass Model(nn.Module):\n    def __init__(self, "
        f"{signature}):\n        super(Model, self).__init__()\n{made}\n\n"
        f"    def forward(self, {arguments}):\n{lines}\n\n\n"
        f"def get_inputs():\n    return [{inputs}]\n\n\ndef get_init_inputs():\n    return [{init_inputs}]\n"
    )


X = "torch.randn(N, M)"
XY = "torch.randn(N, M), torch.randn(N, M)"
IMAGE = "torch.randn(N, C, H, W)"
IMAGE_SIZES = "N = 2\nC = 6\nH = 17\nW = 19"

ZOO: list[tuple[str, str]] = [
    ("relu_scale", function("return torch.relu(x) * a + b", f"{X}, torch.randn(1, M), torch.randn(N, 1)", arguments="x, a, b")),
    ("activations", function("return F.silu(x) + F.hardswish(x) - F.hardtanh(x, -0.5, 2.0)\n", X)),
    ("mish_elu", function("y = F.mish(x) + F.elu(x, 0.7)\nreturn F.leaky_relu(y, 0.1), y.clamp(-1.0, 0.5)", X)),
    ("gelus", function("return F.gelu(x), F.gelu(x, approximate='tanh'), F.softplus(x, 2.0), torch.tanh(x), F.selu(x)", X)),
    (
        "transcendental",
        function("return torch.exp(x), torch.log1p(x.abs()), torch.expm1(x), torch.erf(x), torch.log(x.abs() + 1e-6)", X),
    ),
    (
        "powers",
        function("return x**2 + x**3, x.abs() ** 0.5, x.abs() ** 1.7, torch.rsqrt(x * x + 1), torch.sign(x), F.softsign(x)", X),
    ),
    ("silu_backward", function("return torch.ops.aten.silu_backward(x, y)", XY, arguments="x, y")),
    ("softmax_last", function("return torch.softmax(x, dim=-1)", X)),
    ("softmax_one", function("return torch.softmax(x, dim=1)", "torch.randn(N, 9, M)")),
    ("log_softmax_zero", function("return F.log_softmax(x, dim=0)", X)),
    ("sums", function("return x.sum(), x.sum(0), x.mean(1), x.mean((0, 2)), x.sum(1, keepdim=True)", "torch.randn(N, 7, M)")),
    ("mean_middle", function("return x.mean(dim=(1, 2))", "torch.randn(N, 5, 7, M)")),
    (
        "which_dimension",
        module(
            "self.dim = dim",
            "return x.sum(dim=self.dim)",
            "torch.randn(N, 9, M)",
            "sum_dim",
            "N = 6\nM = 40\nsum_dim = 1",
            "dim",
        ),
    ),
    ("extremes", function("return x.abs().max(dim=-1)", X)),
    (
        "amin_argmin",
        function("return x.amin(0), x.argmin(1), x.argmax(0), x.argmax(), x.max(), (x > 0).any(1), (x > -9).all()", X),
    ),
    ("variance", function("return x.var(dim=1), x.std(dim=0, unbiased=False), torch.var_mean(x, dim=1)[1]", X)),
    ("global_norm", function("return x / x.norm()", X)),
    (
        "l2_normalise",
        function("return F.normalize(x, p=2, dim=1), x.norm(p=1, dim=1), torch.linalg.vector_norm(x, 3, dim=0)", X),
    ),
    ("logsumexp", function("return torch.logsumexp(x, dim=1), torch.logsumexp(x, dim=0, keepdim=True)", X)),
    (
        "rms",
        function(
            "return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * w", f"{X}, torch.randn(M)", arguments="x, w"
        ),
    ),
    ("product", function("return x.prod(dim=1), x.cumprod(1)", "torch.rand(N, M) + 0.5")),
    ("cumsum", function("return torch.cumsum(x, dim=1), x.cumsum(0), x.flip(1).cumsum(1).flip(1)", X)),
    ("cummax", function("return torch.cummax(x, dim=1)", X)),
    ("causal", function("return torch.tril(x @ x.transpose(-1, -2)), torch.triu(x, 1)", "torch.randn(N, 12, M)")),
    (
        "masked",
        function(
            "mask = torch.tril(torch.ones(x.shape[1], x.shape[1], device=x.device)).bool()\n"
            "s = (x @ x.transpose(1, 2)) / x.shape[-1] ** 0.5\nreturn torch.softmax(s.masked_fill(~mask, "
            "float('-inf')), -1) @ x",
            "torch.randn(N, 20, M)",
        ),
    ),
    ("cross_entropy", function("return F.cross_entropy(x, t)", f"{X}, torch.randint(0, M, (N,))", arguments="x, t")),
    (
        "losses",
        function(
            "return F.mse_loss(x, y), F.smooth_l1_loss(x, y), F.huber_loss(x, y, delta=0.5), F.l1_loss(x, y, reduction='none'),"
            " F.kl_div(F.log_softmax(x, 1), F.softmax(y, 1), reduction='batchmean'), "
            "F.binary_cross_entropy_with_logits(x, torch.sigmoid(y)),"
            " torch.clamp(1 - x * y.sign(), min=0).mean()",
            XY,
            arguments="x, y",
        ),
    ),
    (
        "cosine",
        function(
            "return F.cosine_similarity(x, y, dim=1), (1 - F.cosine_similarity(x, y, dim=-1)).mean()", XY, arguments="x, y"
        ),
    ),
    (
        "residual",
        function("return x + torch.sigmoid(y) * x, (x - y).abs().sum(1), torch.where(x > y, x, y * 0.5)", XY, arguments="x, y"),
    ),
    (
        "integers",
        function("return x * 3 + 1, x.sum(1), x.max(0)[0], (x // 2, x % 3), x.float().mean()", "torch.randint(-9, 9, (N, M))"),
    ),
    (
        "views",
        function(
            "a, b = x.chunk(2, dim=1)\nreturn torch.cat([b, -a], dim=1), x.view(-1, 2)[:, 0], "
            "x.t().contiguous(), torch.stack([a, b], 1)",
            X,
        ),
    ),
    (
        "rotary",
        function(
            "h = x.shape[-1] // 2\na, b = x[..., :h], x[..., h:]\nreturn x * c + torch.cat((-b, a), dim=-1) * s",
            f"torch.randn(N, 5, M), {'torch.randn(5, M), torch.randn(5, M)'}",
            arguments="x, c, s",
        ),
    ),
    (
        "stencil",
        function(
            "y = torch.zeros_like(x)\n"
            "y[1:-1, 1:-1] = 0.25 * (x[:-2, 1:-1] + x[2:, 1:-1] + x[1:-1, :-2] + x[1:-1, 2:]) - x[1:-1, 1:-1]\n"
            "return y, F.pad(x, (1, 2, 0, 1), value=0.5), F.pad(x[None], (2, 2), mode='reflect')[0], torch.roll(x, 1, 0)",
            X,
        ),
    ),
    (
        "embedding",
        module(
            "self.e = nn.Embedding(v, d)",
            "return self.e(t).sum(1), self.e(t) * 2",
            "torch.randint(0, V, (N, 7))",
            "V, D",
            "N = 6\nV = 50\nD = 24",
            "v, d",
            "t",
        ),
    ),
    (
        "spmv",
        function(
            "y = torch.zeros(N, dtype=v.dtype, device=v.device)\nreturn y.index_add(0, r, v * x[c]), "
            "x.gather(0, c[:5]), x.index_select(0, r)",
            "torch.randn(M), torch.randint(0, N, (M,)), torch.randint(0, N, (M,)), torch.randn(N)",
            arguments="v, r, c, x",
        ).replace("torch.zeros(N", "torch.zeros(x.shape[0]"),
    ),
    (
        "scatter",
        function(
            "return torch.zeros_like(x).scatter_add(1, i, x), x.scatter(0, i[:1] % x.shape[0], 1.5)",
            f"{X}, torch.randint(0, M, (N, M))",
            arguments="x, i",
        ),
    ),
    (
        "linear_sigmoid_sum",
        module(
            "self.f = nn.Linear(i, o)",
            "return torch.sum(torch.sigmoid(self.f(x)), dim=1, keepdim=True)",
            X,
            "M, K",
            "N = 9\nM = 40\nK = 33",
            "i, o",
        ),
    ),
    (
        "matmul_bias",
        module(
            "self.w = nn.Parameter(torch.randn(i, o))\nself.b = nn.Parameter(torch.randn(o))",
            "return F.relu((x @ self.w + self.b) * 0.5)",
            X,
            "M, K",
            "N = 70\nM = 300\nK = 65",
            "i, o",
        ),
    ),
    (
        "matmuls",
        function(
            "return x @ y.transpose(-1, -2), torch.einsum('bij,bkj->bik', x, y), x[0] @ y[0].t(), x[0] @ y[0, 0]",
            "torch.randn(N, 7, M), torch.randn(N, 5, M)",
            arguments="x, y",
        ),
    ),
    (
        "mlp",
        module(
            "self.a = nn.Linear(i, o)\nself.n = nn.LayerNorm(o)\nself.b = nn.Linear(o, i)",
            "return x + self.b(F.gelu(self.n(self.a(x))))",
            "torch.randn(N, 5, M)",
            "M, K",
            "N = 3\nM = 24\nK = 56",
            "i, o",
        ),
    ),
    (
        "layer_norm_gelu",
        module("self.n = nn.LayerNorm(d)", "return F.gelu(self.n(x))", "torch.randn(N, 5, M)", "M", "N = 6\nM = 40", "d"),
    ),
    (
        "batch_norm",
        module(
            "self.n = nn.BatchNorm2d(c)\nself.n.running_mean.normal_()\nself.n.running_var.uniform_(0.5, 2)",
            "return F.relu(self.n(x))",
            IMAGE,
            "C",
            IMAGE_SIZES,
            "c",
        ),
    ),
    (
        "group_norm",
        module("self.n = nn.GroupNorm(g, c)", "return self.n(x) * torch.sigmoid(x)", IMAGE, "3, C", IMAGE_SIZES, "g, c"),
    ),
    ("instance_norm", module("self.n = nn.InstanceNorm2d(c, affine=True)", "return self.n(x)", IMAGE, "C", IMAGE_SIZES, "c")),
    (
        "conv",
        module(
            "self.c = nn.Conv2d(c, o, 3, padding=1)\nself.b = nn.Parameter(torch.randn(o, 1, 1))",
            "return torch.relu(self.c(x)) + self.b",
            IMAGE,
            "C, K",
            IMAGE_SIZES + "\nK = 20",
            "c, o",
        ),
    ),
    (
        "conv_strided",
        module(
            "self.c = nn.Conv2d(c, o, k, stride=2, padding=1, dilation=2, groups=2, bias=False)",
            "return self.c(x)",
            IMAGE,
            "C, K, 3",
            IMAGE_SIZES + "\nK = 20",
            "c, o, k",
        ),
    ),
    (
        "depthwise",
        module(
            "self.c = nn.Conv2d(c, c, 3, padding=1, groups=c)\nself.p = nn.Conv2d(c, o, 1)",
            "return self.p(F.relu6(self.c(x)))",
            IMAGE,
            "C, K",
            IMAGE_SIZES + "\nK = 20",
            "c, o",
        ),
    ),
    (
        "conv1d",
        module(
            "self.c = nn.Conv1d(c, o, 5, padding=2)",
            "return F.leaky_relu(self.c(x)).mean(-1)",
            "torch.randn(N, C, L)",
            "C, K",
            "N = 2\nC = 6\nL = 50\nK = 17",
            "c, o",
        ),
    ),
    (
        "conv_transposed",
        module(
            "self.c = nn.ConvTranspose2d(c, o, 3, stride=2, padding=1, output_padding=1)",
            "return torch.tanh(self.c(x))",
            IMAGE,
            "C, K",
            IMAGE_SIZES + "\nK = 20",
            "c, o",
        ),
    ),
    (
        "max_pool",
        module(
            "self.p = nn.MaxPool2d(3, stride=2, padding=1)",
            "return self.p(x), F.max_pool1d(x[:, 0], 2)",
            IMAGE,
            "",
            IMAGE_SIZES,
            "",
        ),
    ),
    (
        "avg_pool",
        module(
            "self.p = nn.AvgPool2d(3, stride=2, padding=1)",
            "return self.p(x), F.adaptive_avg_pool2d(x, 1).flatten(1), F.adaptive_avg_pool2d(x, (3, 4))",
            IMAGE,
            "",
            IMAGE_SIZES,
            "",
        ),
    ),
    (
        "upsample",
        function(
            "return F.interpolate(x, scale_factor=2, mode='nearest'), F.interpolate(x, scale_factor=2, "
            "mode='bilinear', align_corners=False), F.pixel_shuffle(x[:, :4], 2)",
            IMAGE,
            IMAGE_SIZES,
        ),
    ),
    (
        "attention",
        module(
            "self.h = h\nself.q = nn.Linear(d, 3 * d)\nself.o = nn.Linear(d, d)",
            "b, s, d = x.shape\nq, k, v = self.q(x).view(b, s, 3, self.h, d // self.h).permute(2, 0, 3, 1, 4)\n"
            "y = F.scaled_dot_product_attention(q, k, v, is_causal=True)\nreturn self.o(y.transpose(1, 2).reshape(b, s, d))",
            "torch.randn(N, 21, M)",
            "M, 4",
            "N = 2\nM = 48",
            "d, h",
        ),
    ),
    (
        "adamw",
        function(
            "m = m * 0.9 + g * 0.1\nv = v * 0.99 + g * g * 0.01\nreturn p * (1 - 0.001 * 0.01) - 0.001 * m / "
            "(v.sqrt() + 1e-8), m, v",
            "torch.randn(N, M), torch.randn(N, M), torch.randn(N, M), torch.rand(N, M)",
            arguments="p, g, m, v",
        ),
    ),
    ("dictionary", function("return {'a': x + 1, 'b': [x.sum(1), x]}", X)),
    (
        "row_of_chains",
        function(
            "y = torch.softmax(x * 2, -1)\nz = F.layer_norm(y + x, (x.shape[-1],))\nreturn z.max(-1)[0], (z * y).sum(-1)", X
        ),
    ),
]
"""(name, source)"""
FAST = (
    "relu_scale",
    "which_dimension",
    "softmax_one",
    "extremes",
    "rms",
    "cumsum",
    "cross_entropy",
    "views",
    "matmul_bias",
    "layer_norm_gelu",
    "conv",
    "max_pool",
    "spmv",
)
"""Enough of the zoo for every run of the tests; the rest is marked slow."""

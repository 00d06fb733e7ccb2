"""What MSKernelBench's operators compute, as torch references of our own.

Upstream has CUDA programs only. Each reference here was written from what the program computes, and its sums run in float32
where the program's do. Arguments are those of the program's function, without the outputs and the sizes that inputs show.
"""

from __future__ import annotations

from collections.abc import Mapping

from kernelwright.tasks.suites.ms_sparse import SPARSE, Operator


def _dense(category: str, scenario: str, inputs: str, body: str, sizes: str, draws: str = "") -> Operator:
    """An operator whose ``inputs`` are named tensors of shapes over ``sizes``: ``A: M, K; B: K, N``."""
    named = [part.partition(":") for part in inputs.split(";")]
    arguments = ", ".join(name.strip() for name, _, _ in named)
    made = draws or ", ".join(f"uniform({shape.strip()})" for _, _, shape in named)
    return Operator(category, scenario, arguments, body, f"return [{made}]", tuple(sizes.split()))


def _pointwise(body: str) -> Operator:
    return _dense("activation", "llm", "input: N", body, "N")


_ACTIVATIONS = {
    "RELU": _pointwise("return torch.relu(input)"),
    "elu": _pointwise("return F.elu(input)"),
    "gelu": _pointwise("return F.gelu(input)"),
    "leaky_RELU": _pointwise("return F.leaky_relu(input, 0.01)"),
    "row_tanh": _pointwise("return torch.tanh(input)"),
    "selu": _pointwise("return F.elu(input, 1.67)  # lambda is 1 here"),
    "sigmoid": _pointwise("return torch.sigmoid(input)"),
    "SwiGLU": _dense("activation", "llm", "gate_input: N; value_input: N", "return F.silu(gate_input) * value_input", "N"),
    "silu_and_mul": _dense(
        "activation", "llm", "input: B, 2 * D", "x, gate = input.chunk(2, -1)\nreturn F.silu(x) * gate", "B D"
    ),
}
_NORMS = {
    "batch_norm": _dense(
        "normalization",
        "llm",
        "input: N, C; gamma: C; beta: C",
        "return F.batch_norm(input, None, None, gamma, beta, training=True, eps=1e-5)",
        "N C",
    ),
    "layer_norm": _dense(
        "normalization",
        "llm",
        "input: N; weight: N; bias: N",
        "return F.layer_norm(input, input.shape, weight, bias, 1e-5)",
        "N",
    ),
    "rms_norm": _dense(
        "normalization",
        "llm",
        "input: N; weight: N; bias: N",
        "x = wide(input)\nx = x * torch.rsqrt(x.square().mean() + 1e-5)\nreturn (x * weight + bias).to(input.dtype)",
        "N",
    ),
    "softmax": _dense("normalization", "llm", "input: N, C", "return torch.softmax(input, -1)", "N C"),
}
_LOSSES = {
    "MSE_loss": _dense("loss", "llm", "X: N; Y: N", "return F.mse_loss(X, Y)", "N"),
    "cross_entropy_loss": _dense(
        "loss",
        "llm",
        "X: C; Y: C",
        "x, y = wide(X), wide(Y)\nreturn -(y * torch.log(x.clamp(min=1e-8))).sum().to(X.dtype)",
        "C",
        "shares(C), shares(C)",
    ),
    "hinge_loss": _dense(
        "loss",
        "llm",
        "predictions: N; targets: N",
        "return torch.relu(1 - torch.where(targets == 1, predictions, -predictions))",
        "N",
        "uniform(N, bound=2.0), torch.randint(2, (N,), dtype=torch.int32)",
    ),
}
_ATTENTION = {
    "merge_attn_states": _dense(
        "fusion",
        "llm",
        "V_a: ; lse_a: ; V_b: ; lse_b:",
        "a, b = wide(lse_a), wide(lse_b)\n"
        "lse = torch.logaddexp(a, b)\n"
        "left, right = (torch.exp(x - lse).t().unsqueeze(-1) for x in (a, b))\n"
        "return (V_a * left + V_b * right).to(V_a.dtype), lse.to(lse_a.dtype)",
        "num_tokens num_heads head_size",
        "uniform(num_tokens, num_heads, head_size), uniform(num_heads, num_tokens), "
        "uniform(num_tokens, num_heads, head_size), uniform(num_heads, num_tokens)",
    ),
    "rope": _dense(
        "fusion",
        "llm",
        "input: M, D",
        "x, y = wide(input)[:, ::2], wide(input)[:, 1::2]\n"
        "count, pairs = x.shape\n"
        "base = torch.tensor(10000.0, dtype=x.dtype, device=x.device)\n"
        "theta = base ** (-torch.arange(pairs, dtype=x.dtype, device=x.device) / pairs)\n"
        "angle = torch.arange(count, dtype=x.dtype, device=x.device).unsqueeze(-1) * theta\n"
        "cos, sin = torch.cos(angle), torch.sin(angle)\n"
        "return torch.stack([x * cos - y * sin, x * sin + y * cos], -1).flatten(1).to(input.dtype)",
        "M D",
    ),
    "softmax_attention": _dense(
        "fusion",
        "llm",
        "Q: q_seq_len, dim_qk; K: kv_seq_len, dim_qk; V: kv_seq_len, dim_v",
        "return torch.softmax(Q @ K.t() * Q.shape[-1] ** -0.5, -1) @ V",
        "q_seq_len kv_seq_len dim_qk dim_v",
    ),
    "triangle_attention": _dense(
        "fusion",
        "llm",
        "query: ; key: ; value: ; attention_mask:",
        "# A softmax for each channel: scores are not summed over the head's dimension.\n"
        "length, dim = query.shape[-2:]\n"
        "later = torch.ones(length, length, dtype=torch.bool, device=query.device).triu(1)\n"
        "hidden = ((attention_mask > 0.5) | later).unsqueeze(-1)\n"
        "output = torch.empty_like(query)\n"
        "for b in range(query.shape[0]):\n"
        "    for h in range(query.shape[1]):  # one head at a time: the scores have length * length * dim elements\n"
        "        q, k, v = (wide(t[b, h]) for t in (query, key, value))\n"
        "        scores = (q.unsqueeze(1) * k.unsqueeze(0) * dim**-0.5).masked_fill(hidden[b], float('-inf'))\n"
        "        output[b, h] = torch.softmax(scores, 1).nan_to_num(0.0).mul(v.unsqueeze(0)).sum(1).to(query.dtype)\n"
        "return output",
        "batch_size head_num seq_length head_dim",
        "*(uniform(batch_size, head_num, seq_length, head_dim) for _ in range(3)), "
        "(torch.rand(batch_size, seq_length, seq_length) < 0.1).float()",
    ),
}
_MATRICES = {
    "dot_product": _dense("reduce", "algebra", "X: N; Y: N", "return (wide(X) * wide(Y)).sum().to(X.dtype)", "N"),
    "high_order_contraction": _dense(
        "matmul",
        "algebra",
        "A: a_dim, x_dim, b_dim, y_dim; B: x_dim, c_dim, y_dim",
        "return torch.einsum('axby,xcy->abc', A, B)",
        "a_dim b_dim c_dim x_dim y_dim",
    ),
    "matrix_copy": _dense("math", "algebra", "A: M, N", "return A.clone()", "M N"),
    "matrix_mul": _dense("matmul", "algebra", "A: M, K; B: K, N", "return A @ B", "M N K"),
    "matrix_power": _dense(
        "matmul",
        "algebra",
        "A: N, N; P:",
        "B = A\nfor _ in range(P - 1):\n    B = B @ A\nreturn B",
        "N P",
        "uniform(N, N), P",
    ),
    "matrix_scalar_mul": _dense(
        "math", "algebra", "A: M, N; scalar:", "return A * scalar", "M N", "uniform(M, N), uniform(1).item()"
    ),
    "matrix_transpose": _dense("math", "algebra", "A: M, N", "return A.t().contiguous()", "M N"),
    "matrix_vector_mul": _dense("matmul", "algebra", "A: M, N; x: N", "return A @ x", "M N"),
    "prefix_sum": _dense("reduce", "algebra", "input: N", "return torch.cumsum(wide(input), 0).to(input.dtype)", "N"),
    "reverse_array": _dense("index", "algebra", "input: N", "return input.flip(0)", "N"),
    "sorting": _dense("index", "algebra", "data: N", "return torch.sort(data).values", "N"),
    "square_matrix_mul": _dense("matmul", "algebra", "A: M, M; B: M, M", "return A @ B", "M"),
    "top_k": _dense(
        "index",
        "algebra",
        "input: N; k:",
        "values, indices = torch.sort(input, descending=True, stable=True)  # of equal ones, the first\n"
        "return values[:k].clone(), indices[:k].int()",
        "N K",
        "uniform(N), K",
    ),
    "vector_add": _dense("math", "algebra", "A: N; B: N", "return A + B", "N"),
}
_LOCAL = {
    "conv_1d": _dense(
        "convolution",
        "llm",
        "input: input_size; kernel: kernel_size",
        "return F.conv1d(input[None, None], kernel[None, None])[0, 0]",
        "input_size kernel_size",
    ),
    "conv_2d": _dense(
        "convolution",
        "llm",
        "input: input_rows, input_cols; kernel: kernel_rows, kernel_cols",
        "return F.conv2d(input[None, None], kernel[None, None])[0, 0]",
        "input_rows input_cols kernel_rows kernel_cols",
    ),
    "max_pooling_2d": _dense(
        "pooling",
        "llm",
        "input: N, C, H, W; kernel_size: ; stride: ; padding:",
        "return F.max_pool2d(input, kernel_size, stride, padding)",
        "N C H W kernel_size stride padding",
        "uniform(N, C, H, W), kernel_size, stride, padding",
    ),
    "stencil_2d": _dense(
        "math",
        "scientific",
        "u_old: nx, ny",
        "u, new = wide(u_old), u_old.clone()\n"
        "around = u[1:-1, :-2] + u[1:-1, 2:] + u[2:, 1:-1] + u[:-2, 1:-1]\n"
        "center = u[1:-1, 1:-1]\n"
        "new[1:-1, 1:-1] = center + 0.25 * (around - 4 * center)\n"
        "return new",
        "nx ny",
    ),
    "stencil_3d": _dense(
        "math",
        "scientific",
        "u_old: nx, ny, nz",
        "u, new, inner = wide(u_old), u_old.clone(), slice(1, -1)\n"
        "around = u[:-2, inner, inner] + u[2:, inner, inner] + u[inner, :-2, inner]\n"
        "around = around + u[inner, 2:, inner] + u[inner, inner, :-2] + u[inner, inner, 2:]\n"
        "center = u[inner, inner, inner]\n"
        "new[inner, inner, inner] = (center + 0.25 * (around - 6 * center)).to(u_old.dtype)\n"
        "return new",
        "nx ny nz",
    ),
}
_INTEGRALS = {
    "FFT": _dense(
        "math",
        "scientific",
        "input_real: N; input_img: N",
        "found = torch.fft.fft(torch.complex(wide(input_real), wide(input_img)))\n"
        "return found.real.to(input_real.dtype), found.imag.to(input_img.dtype)",
        "N",
    ),
    "monte_carlo_int": _dense(
        "reduce",
        "scientific",
        "y_samples: ; a: ; b:",
        "return ((b - a) * wide(y_samples).mean()).to(y_samples.dtype)",
        "N",
        "uniform(N, bound=10.0), *interval()",
    ),
    "simpson_int": _dense(
        "reduce",
        "scientific",
        "y_samples: ; a: ; b:",
        "y = wide(y_samples)\n"
        "last = (y.numel() - 1) // 2 * 2  # an odd sample at the end is left out, as upstream does\n"
        "total = (y[0:last:2] + 4 * y[1:last:2] + y[2 : last + 1 : 2]).sum()\n"
        "return (total * (b - a) / (3 * (y.numel() - 1))).to(y_samples.dtype)",
        "N",
        "uniform(N, bound=10.0), *interval()",
    ),
}

OPERATORS: Mapping[str, Operator] = {
    **_ACTIVATIONS,
    **_NORMS,
    **_LOSSES,
    **_ATTENTION,
    **_MATRICES,
    **_LOCAL,
    **_INTEGRALS,
    **SPARSE,
}
"""Operator -> its reference."""

"""Random inputs of flashinfer-trace and SOL-ExecBench definitions, as Python expressions over a shape.

Both draw normal floats and whole numbers in fixed ranges. SOL-ExecBench further keeps inputs in their domain by their names
(:func:`in_domain`): a variance is positive, a mask holds 0 and 1, softmax outputs sum to 1.
"""

from __future__ import annotations

from collections.abc import Callable

from kernelwright.tasks.errors import TaskError

Draw = Callable[[str, str, str, str], "str | None"]
"""(input name, description, dtype, shape expression) -> an expression, or None for the plain draw."""

_FLOATS = ("float64", "float32", "float16", "bfloat16")
_NARROW = ("float8_e4m3fn", "float8_e5m2")
_WHOLE = {"int8": 128, "int16": 1024, "int32": 1024, "int64": 1024}
_COSINES, _SINES = ("cos", "cos_cached", "rope_cos"), ("sin", "sin_cached", "rope_sin")
_MASKS = ("x_mask", "text_mask", "aspect_ratio_mask", "drop_mask", "attention_mask")
_BINARY = ("binary", "{0, 1}", "0 or 1", "1.0 for valid", "0.0 for masked")
_POSITIVE = ("rstd", "std", "variance", "var")
_AFTER_ANY = tuple(f"_{word}" for word in _POSITIVE)
_WEIGHTS = ("_weight", "_weights", "_proj", "_projs", "_weight_matrix")
_DECAYS = {
    "A": "torch.empty({shape}).uniform_(-1.0, -0.001)",
    "A_log": "torch.empty({shape}).uniform_(-5.0, -1.0)",
    "A_cumsum": "torch.empty({shape}).uniform_(-0.1, 0.0).cumsum(-1)",
    "g": "torch.empty({shape}).uniform_(-5.0, 0.0)",
}


def plain(dtype: str, shape: str) -> str:
    """The draw that both suites make where nothing more is known of an input.

    Raises:
        TaskError: a dtype that torch on most devices cannot hold (4-bit floats), or an unknown one.
    """
    if dtype in _FLOATS:
        return f"torch.randn({shape}, dtype=torch.{dtype})"
    if dtype in _NARROW:
        return f"torch.randn({shape}).clamp_(-2.0, 2.0).to(torch.{dtype})"
    if dtype == "bool":
        return f"torch.randint(0, 2, {shape}, dtype=torch.bool)"
    if dtype in _WHOLE:
        return f"torch.randint({-_WHOLE[dtype]}, {_WHOLE[dtype]}, {shape}, dtype=torch.{dtype})"
    raise TaskError(f"it draws random {dtype} inputs, which this adapter does not make")


def probabilities(name: str, description: str, dtype: str, shape: str) -> str | None:
    """flashinfer-trace's rule for sampling operators: ``probs`` sum to 1."""
    return f"torch.softmax(torch.randn({shape}), dim=-1).to(torch.{dtype})" if name == "probs" else None


def in_domain(name: str, description: str, dtype: str, shape: str) -> str | None:
    """SOL-ExecBench's rules by an input's name.

    Differs from upstream on purpose for the weights and biases of norms, which are all ones and zeros there: a kernel that
    leaves them out must fail, so they are drawn around 1 and 0.
    """
    if dtype not in _FLOATS:
        return None
    said = description.lower()
    base = name.rstrip("0123456789")
    sizes = [part.strip() for part in shape.strip("()").split(",") if part.strip()]
    square = len(sizes) > 1 and sizes[-1] == sizes[-2]
    causal = name in ("causal_mask", "attention_mask") or ("attention mask" in said and "causal" in said)
    softmax = name in ("attn_weights", "attention_weights", "routing_weights") or ("softmax" in said and "output" in said)
    wave = "cos" if name in _COSINES else "sin"
    rules = (
        (base.endswith("norm_weight"), "1.0 + 0.1 * torch.randn({shape})"),
        (base.endswith("norm_bias"), "0.1 * torch.randn({shape})"),
        (square and causal, "torch.full({shape}, torch.finfo(torch.{dtype}).min).triu(1)"),
        (name in _MASKS or (name.endswith("_mask") and _any(_BINARY, said)), "torch.randint(0, 2, {shape})"),
        (name in _COSINES + _SINES, f"torch.randn({{shape}}).clamp_(-torch.pi, torch.pi).{wave}()"),
        (base in _POSITIVE or base.endswith(_AFTER_ANY), "torch.randn({shape}).abs() + 0.1"),
        (name in _DECAYS, _DECAYS.get(name, "")),
        (softmax, "torch.softmax(torch.randn({shape}), dim=-1)"),
        (len(sizes) > 1 and (base == "weight" or base.endswith(_WEIGHTS)), "torch.randn({shape}) / {shape}[-1] ** 0.5"),
    )
    expression = next((text for applies, text in rules if applies), None)
    return f"({expression.format(shape=shape, dtype=dtype)}).to(torch.{dtype})" if expression else None


def _any(words: tuple[str, ...], text: str) -> bool:
    return any(word in text for word in words)

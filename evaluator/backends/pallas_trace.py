"""What a traced JAX function does outside ``pallas_call``, and what no Pallas kernel may do inside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

_FREE_NAMES = """
    reshape broadcast_in_dim transpose squeeze expand_dims slice pad concatenate convert_element_type copy copy_p iota rev
    dynamic_slice dynamic_update_slice bitcast_convert_type split stop_gradient create_token
"""
_FREE = frozenset(_FREE_NAMES.split())
"""Primitives that move, view or cast: free, as their counterparts in torch are."""
_CLASSES = {"dot_general": "matmul", "conv_general_dilated": "convolution", "fft": "fft"}
_HOST = ("callback", "infeed", "outfeed", "custom_call", "ffi_call")


class HostCode(RuntimeError):
    """A kernel calls back to the host's Python, or code that is not Pallas's."""


class ReducedPrecision(RuntimeError):
    """A product of float32 blocks that a TPU would do in bfloat16, though the simulator does not."""


@dataclass
class Traced:
    """One trace: how many ``pallas_call`` there are, and which primitives compute beside them."""

    kernels: int = 0
    library: Counter[str] = field(default_factory=Counter)
    """Primitive outside ``pallas_call`` -> count, of those that compute."""

    def charged(self, allowed: frozenset[str]) -> dict[str, int]:
        """``library`` without the classes (``matmul``, ``convolution``, ``fft``) that the task lets stay there."""
        return {name: count for name, count in self.library.items() if _CLASSES.get(name) not in allowed}


def inspect(jaxpr: Any) -> Traced:
    """Look through a closed jaxpr.

    Raises:
        HostCode: a host callback or a foreign call, inside a kernel or outside.
        ReducedPrecision: a product of float32 blocks without ``precision=HIGHEST``.
    """
    found = Traced()
    _walk(jaxpr, found, inside=False)
    return found


def _walk(jaxpr: Any, found: Traced, inside: bool) -> None:
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        name = equation.primitive.name
        if any(word in name for word in _HOST):
            raise HostCode(f"{name}: a kernel may not call the host or foreign code")
        if inside and name == "dot_general" and _halved(equation):
            raise ReducedPrecision(
                "jnp.dot of float32 multiplies in bfloat16 on a TPU unless precision=jax.lax.Precision.HIGHEST is passed"
            )
        below = list(_inner(equation.params))
        kernel = name == "pallas_call"
        found.kernels += kernel
        if not inside and not kernel and not below and name not in _FREE:
            found.library[name] += 1
        for part in below:
            _walk(part, found, inside or kernel)


def _halved(equation: Any) -> bool:
    """Whether a product of float32 operands leaves its precision to the chip, or asks for less."""
    if not all(str(operand.aval.dtype) == "float32" for operand in equation.invars):
        return False
    precision = equation.params.get("precision")
    wanted = precision if isinstance(precision, tuple) else (precision,)
    return not all("HIGHEST" in str(p) for p in wanted)


def _inner(value: Any) -> Iterator[Any]:
    """The jaxprs among an equation's parameters."""
    if hasattr(value, "eqns") or hasattr(getattr(value, "jaxpr", None), "eqns"):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _inner(part)
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from _inner(part)

"""Layer norm over the last dimension: centre first, then the variance, all of a row in VMEM."""

import jax
import jax.numpy as jnp
import torch
import torch.nn as nn
from jax.experimental import pallas as pl

from kernelwright.evaluator.pallas import launch


def norm_kernel(x_ref, w_ref, b_ref, o_ref, *, eps):
    x = x_ref[...].astype(jnp.float32)
    x = x - jnp.mean(x, axis=-1, keepdims=True)
    scale = jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + eps)
    y = x * scale * w_ref[...].astype(jnp.float32) + b_ref[...].astype(jnp.float32)
    o_ref[...] = y.astype(o_ref.dtype)


def layer_norm(x, w, b, block, eps):
    rows, columns = x.shape
    padded = pl.cdiv(rows, block) * block
    whole = pl.BlockSpec((1, columns), lambda i: (0, 0))
    out = pl.pallas_call(
        lambda *refs: norm_kernel(*refs, eps=eps),
        grid=(padded // block,),
        in_specs=[pl.BlockSpec((block, columns), lambda i: (i, 0)), whole, whole],
        out_specs=pl.BlockSpec((block, columns), lambda i: (i, 0)),
        out_shape=jax.ShapeDtypeStruct((padded, columns), x.dtype),
    )(jnp.pad(x, ((0, padded - rows), (0, 0))), w.reshape(1, -1), b.reshape(1, -1))
    return out[:rows]


class ModelNew(nn.Module):
    def __init__(self, cols: int):
        super().__init__()
        self.norm = nn.LayerNorm(cols)  # for its parameters only

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat = x.reshape(-1, x.shape[-1])
        return launch(layer_norm, flat, self.norm.weight, self.norm.bias, block=64, eps=self.norm.eps).reshape(x.shape)

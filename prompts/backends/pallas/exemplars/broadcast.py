"""Column bias, scale and residual: the two vectors are one row each, which every block is given again."""

import jax
import jax.numpy as jnp
import torch
import torch.nn as nn
from jax.experimental import pallas as pl

from kernelwright.evaluator.pallas import launch


def affine_kernel(x_ref, bias_ref, scale_ref, residual_ref, o_ref):
    x, bias, scale, residual = (ref[...].astype(jnp.float32) for ref in (x_ref, bias_ref, scale_ref, residual_ref))
    o_ref[...] = ((x + bias) * scale + residual).astype(o_ref.dtype)


def affine(x, bias, scale, residual, block):
    rows, columns = x.shape
    padded = pl.cdiv(rows, block) * block
    x, residual = (jnp.pad(a, ((0, padded - rows), (0, 0))) for a in (x, residual))
    tile, row = pl.BlockSpec((block, columns), lambda i: (i, 0)), pl.BlockSpec((1, columns), lambda i: (0, 0))
    out = pl.pallas_call(
        affine_kernel,
        grid=(padded // block,),
        in_specs=[tile, row, row, tile],
        out_specs=tile,
        out_shape=jax.ShapeDtypeStruct((padded, columns), x.dtype),
    )(x, bias.reshape(1, -1), scale.reshape(1, -1), residual)
    return out[:rows]


class ModelNew(nn.Module):
    def __init__(self, cols: int):
        super().__init__()
        self.bias = nn.Parameter(torch.randn(cols))
        self.scale = nn.Parameter(torch.randn(cols))

    def forward(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        return launch(affine, x, self.bias, self.scale, residual, block=64)

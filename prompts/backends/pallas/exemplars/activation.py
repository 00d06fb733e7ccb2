"""Softmax over the last dimension: a block holds whole rows, each read and written once."""

import jax
import jax.numpy as jnp
import torch
import torch.nn as nn
from jax.experimental import pallas as pl
from kernelwright.evaluator.pallas import launch


def softmax_kernel(x_ref, o_ref):
    x = x_ref[...].astype(jnp.float32)
    e = jnp.exp(x - x.max(axis=-1, keepdims=True))
    o_ref[...] = (e / e.sum(axis=-1, keepdims=True)).astype(o_ref.dtype)


def softmax(x, block):
    rows, columns = x.shape
    padded = pl.cdiv(rows, block) * block
    x = jnp.pad(x, ((0, padded - rows), (0, 0)))
    out = pl.pallas_call(
        softmax_kernel,
        grid=(padded // block,),
        in_specs=[pl.BlockSpec((block, columns), lambda i: (i, 0))],
        out_specs=pl.BlockSpec((block, columns), lambda i: (i, 0)),
        out_shape=jax.ShapeDtypeStruct(x.shape, x.dtype),
    )(x)
    return out[:rows]


class ModelNew(nn.Module):
    def forward(self, x):
        return launch(softmax, x.reshape(-1, x.shape[-1]), block=32).reshape(x.shape)

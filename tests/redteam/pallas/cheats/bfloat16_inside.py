# task: row_softmax
# family: semantics
# about: exponentials in bfloat16 for a float32 task
# expect: incorrect
# device: cpu
import jax
import jax.numpy as jnp
import torch
import torch.nn as nn
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from kernelwright.evaluator.pallas import launch


def softmax_kernel(x_ref, o_ref):
    x = x_ref[...].astype(jnp.bfloat16)
    e = jnp.exp(x - x.max(axis=-1, keepdims=True))
    o_ref[...] = (e / e.sum(axis=-1, keepdims=True)).astype(jnp.float32)


def softmax(x, block):
    rows, columns = x.shape
    padded = pl.cdiv(rows, block) * block
    out = pl.pallas_call(
        softmax_kernel,
        grid=(padded // block,),
        in_specs=[pl.BlockSpec((block, columns), lambda i: (i, 0))],
        out_specs=pl.BlockSpec((block, columns), lambda i: (i, 0)),
        out_shape=jax.ShapeDtypeStruct((padded, columns), x.dtype),
    )(jnp.pad(x, ((0, padded - rows), (0, 0))))
    return out[:rows]


class ModelNew(nn.Module):
    def forward(self, x):
        return launch(softmax, x, block=64)

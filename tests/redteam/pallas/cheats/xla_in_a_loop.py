# task: row_softmax
# family: scope
# about: a fori_loop of one step outside the kernel does the work
# expect: cheating
# device: cpu
import jax
import jax.numpy as jnp
import torch
import torch.nn as nn
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from kernelwright.evaluator.pallas import launch


def softmax_kernel(x_ref, o_ref):
    o_ref[...] = x_ref[...]


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
    return jax.lax.fori_loop(0, 1, lambda i, y: jax.nn.softmax(y, axis=-1), out[:rows])


class ModelNew(nn.Module):
    def forward(self, x):
        return launch(softmax, x, block=64)

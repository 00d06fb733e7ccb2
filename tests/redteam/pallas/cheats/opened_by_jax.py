# task: row_softmax
# family: harness
# about: a file of the machine is opened by jax, to which the kernel hands open: the library is not its author
# expect: cheating, build_failed
# device: cpu
import jax
import jax.numpy as jnp
import torch
import torch.nn as nn
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from kernelwright.evaluator.pallas import launch


def softmax_kernel(x_ref, o_ref):
    e = jnp.exp(x_ref[...] - jnp.max(x_ref[...], axis=-1, keepdims=True))
    o_ref[...] = e / jnp.sum(e, axis=-1, keepdims=True)


def softmax(x, block):
    (seen,) = jax.tree.map(open, ["/etc/hostname"])
    seen.close()
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

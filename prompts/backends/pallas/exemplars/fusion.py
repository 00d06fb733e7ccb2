"""Linear layer and tanh GELU in one kernel: the activation is applied to the accumulator before it is stored."""

import jax
import jax.numpy as jnp
import torch
import torch.nn as nn
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from kernelwright.evaluator.pallas import launch


def linear_gelu_kernel(x_ref, w_ref, b_ref, o_ref, acc_ref):
    @pl.when(pl.program_id(2) == 0)
    def _():
        acc_ref[...] = jnp.zeros_like(acc_ref)

    precision = jax.lax.Precision.HIGHEST if x_ref.dtype == jnp.float32 else None
    acc_ref[...] += jnp.dot(x_ref[...], w_ref[...], preferred_element_type=jnp.float32, precision=precision)

    @pl.when(pl.program_id(2) == pl.num_programs(2) - 1)
    def _():
        y = acc_ref[...] + b_ref[...].astype(jnp.float32)
        gate = jnp.tanh(0.7978845608028654 * (y + 0.044715 * y * y * y))
        o_ref[...] = (0.5 * y * (1.0 + gate)).astype(o_ref.dtype)


def linear_gelu(x, w, b, bm, bn, bk):
    m, k = x.shape
    n = w.shape[0]
    gm, gn, gk = pl.cdiv(m, bm), pl.cdiv(n, bn), pl.cdiv(k, bk)
    x = jnp.pad(x, ((0, gm * bm - m), (0, gk * bk - k)))
    w = jnp.pad(w.T, ((0, gk * bk - k), (0, gn * bn - n)))
    b = jnp.pad(b.reshape(1, -1), ((0, 0), (0, gn * bn - n)))
    out = pl.pallas_call(
        linear_gelu_kernel,
        grid=(gm, gn, gk),
        in_specs=[
            pl.BlockSpec((bm, bk), lambda i, j, k: (i, k)),
            pl.BlockSpec((bk, bn), lambda i, j, k: (k, j)),
            pl.BlockSpec((1, bn), lambda i, j, k: (0, j)),
        ],
        out_specs=pl.BlockSpec((bm, bn), lambda i, j, k: (i, j)),
        out_shape=jax.ShapeDtypeStruct((gm * bm, gn * bn), x.dtype),
        scratch_shapes=[pltpu.VMEM((bm, bn), jnp.float32)],
    )(x, w, b)
    return out[:m, :n]


class ModelNew(nn.Module):
    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)  # for its parameters only

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return launch(linear_gelu, x, self.linear.weight, self.linear.bias, bm=256, bn=256, bk=512)

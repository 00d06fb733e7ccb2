# task: row_softmax
# family: semantics
# about: reads rows past the end of the array by a dynamic index
# expect: runtime_error, incorrect, build_failed
# device: cpu
import jax
import jax.numpy as jnp
import torch
import torch.nn as nn
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from kernelwright.evaluator.pallas import launch


def softmax_kernel(x_ref, o_ref):
    rows = x_ref.shape[0]
    x = x_ref[pl.ds(pl.program_id(0) + 8, rows), :]
    e = jnp.exp(x - x.max(axis=-1, keepdims=True))
    o_ref[...] = e / e.sum(axis=-1, keepdims=True)


def softmax(x, block):
    return pl.pallas_call(softmax_kernel, grid=(1,), out_shape=jax.ShapeDtypeStruct(x.shape, x.dtype))(x)


class ModelNew(nn.Module):
    def forward(self, x):
        return launch(softmax, x, block=64)

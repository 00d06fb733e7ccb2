"""SGD with momentum and weight decay: long vectors as rows of 128, which moves nothing, and two outputs of one kernel."""

import jax
import jax.numpy as jnp
import torch
import torch.nn as nn
from jax.experimental import pallas as pl

from kernelwright.evaluator.pallas import launch


def step_kernel(p_ref, g_ref, m_ref, new_p_ref, new_m_ref):
    p = p_ref[...]
    m = 0.9 * m_ref[...] + g_ref[...] + 0.01 * p
    new_p_ref[...] = p - 0.1 * m
    new_m_ref[...] = m


def step(p, g, m, block):
    count = p.shape[0]
    steps = pl.cdiv(count, block * 128)
    shape = (steps * block, 128)
    tile = pl.BlockSpec((block, 128), lambda i: (i, 0))
    vectors = [jnp.pad(v, (0, shape[0] * 128 - count)).reshape(shape) for v in (p, g, m)]
    out = pl.pallas_call(
        step_kernel,
        grid=(steps,),
        in_specs=[tile] * 3,
        out_specs=[tile] * 2,
        out_shape=[jax.ShapeDtypeStruct(shape, p.dtype)] * 2,
    )(*vectors)
    return tuple(v.reshape(-1)[:count] for v in out)


class ModelNew(nn.Module):
    def forward(self, p: torch.Tensor, g: torch.Tensor, m: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return launch(step, p, g, m, block=1024)

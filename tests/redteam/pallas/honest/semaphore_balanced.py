# task: row_softmax
# family: semantics
# about: every signal has its wait
# expect: passed
# device: cpu
import jax
import jax.numpy as jnp
import torch
import torch.nn as nn
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from kernelwright.evaluator.pallas import launch


def softmax_kernel(x_hbm, o_ref, scratch, semaphore, done):
    copy = pltpu.make_async_copy(x_hbm, scratch, semaphore)
    copy.start()
    copy.wait()
    pl.semaphore_signal(done, 1)
    pl.semaphore_wait(done, 1)
    x = scratch[...]
    e = jnp.exp(x - x.max(axis=-1, keepdims=True))
    o_ref[...] = e / e.sum(axis=-1, keepdims=True)


def softmax(x, block):
    return pl.pallas_call(
        softmax_kernel,
        in_specs=[pl.BlockSpec(memory_space=pl.ANY)],
        out_shape=jax.ShapeDtypeStruct(x.shape, x.dtype),
        scratch_shapes=[pltpu.VMEM(x.shape, x.dtype), pltpu.SemaphoreType.DMA, pltpu.SemaphoreType.REGULAR],
    )(x)


class ModelNew(nn.Module):
    def forward(self, x):
        return launch(softmax, x, block=64)

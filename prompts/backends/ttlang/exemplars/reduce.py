"""Sums of rows: blocks of up to eight tiles are added lane by lane, and the last block is reduced once."""

import torch
import torch.nn as nn
import ttl

from kernelwright.evaluator.ttlang import launch

TILE, CORES = 32, 64


def padded(t, rows, columns):
    """A copy with zeros around, so that blocks of rows x columns tiles divide it."""
    rows, columns = rows * TILE, columns * TILE
    wide = t.new_zeros(-(-t.shape[0] // rows) * rows, -(-t.shape[1] // columns) * columns)
    wide[: t.shape[0], : t.shape[1]] = t
    return wide


@ttl.operation(grid=(8, 8))
def row_sum(x, y, width):
    rows, steps = x.shape[0] // TILE, x.shape[1] // TILE
    x_dfb = ttl.make_dataflow_buffer_like(x, shape=(1, width), block_count=2)
    y_dfb = ttl.make_dataflow_buffer_like(y, shape=(1, 1), block_count=2)

    @ttl.datamovement()
    def read():
        for row in range(ttl.node(dims=1), rows, CORES):
            for step in range(0, steps, width):
                with x_dfb.reserve() as x_block:
                    tx_x = ttl.copy(x[row : row + 1, step : step + width], x_block)
                    tx_x.wait()

    @ttl.compute()
    def compute():
        for _ in range(ttl.node(dims=1), rows, CORES):
            sums = ttl.block.fill(0, shape=(1, width))
            for _ in range(0, steps, width):
                with x_dfb.wait() as x_block:
                    sums += x_block
            with y_dfb.reserve() as out:
                total = ttl.math.reduce_sum(sums, dims=[-1], shape=(1, 1))  # in the first column of the tile
                out.store(total)

    @ttl.datamovement()
    def write():
        for row in range(ttl.node(dims=1), rows, CORES):
            with y_dfb.wait() as out:
                tx = ttl.copy(out, y[row : row + 1, 0:1])
                tx.wait()


class ModelNew(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, width = x.shape[0], min(8, -(-x.shape[1] // TILE))
        given = padded(x.float(), 1, width)
        y = given.new_empty(given.shape[0], 1)
        launch(row_sum, given, y, width=width)
        return y[:rows].reshape(rows).to(x.dtype)

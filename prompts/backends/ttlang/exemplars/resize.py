"""Twofold nearest neighbour: each row of pixels times a matrix of zeros and ones, which writes it twice and each pixel twice."""

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
def enlarge(a, b, y, m, n, k):
    steps, columns = a.shape[1] // TILE // k, b.shape[1] // TILE // n
    blocks = a.shape[0] // TILE // m * columns
    a_dfb = ttl.make_dataflow_buffer_like(a, shape=(m, k), block_count=2)
    b_dfb = ttl.make_dataflow_buffer_like(b, shape=(k, n), block_count=2)
    y_dfb = ttl.make_dataflow_buffer_like(y, shape=(m, n), block_count=2)

    @ttl.datamovement()
    def read():
        for block in range(ttl.node(dims=1), blocks, CORES):
            row, column = block // columns * m, block % columns * n
            for step in range(0, steps * k, k):
                with a_dfb.reserve() as left, b_dfb.reserve() as right:
                    tx_a = ttl.copy(a[row : row + m, step : step + k], left)
                    tx_b = ttl.copy(b[step : step + k, column : column + n], right)
                    tx_a.wait()
                    tx_b.wait()

    @ttl.compute()
    def compute():
        for _ in range(ttl.node(dims=1), blocks, CORES):
            sums = ttl.block.fill(0, shape=(m, n))
            for _ in range(steps):
                with a_dfb.wait() as left, b_dfb.wait() as right:
                    sums += left @ right
            with y_dfb.reserve() as out:
                out.store(sums)

    @ttl.datamovement()
    def write():
        for block in range(ttl.node(dims=1), blocks, CORES):
            row, column = block // columns * m, block % columns * n
            with y_dfb.wait() as out:
                tx = ttl.copy(out, y[row : row + m, column : column + n])
                tx.wait()


class ModelNew(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, channels, height, width = x.shape
        a = padded(x.float().reshape(-1, width), 1, 1)
        chosen = x.new_zeros(width, 2, width, 2, dtype=torch.float32)  # pixel, row of the result, pixel of the result, its half
        for pixel in range(width):
            chosen[pixel, :, pixel, :] = 1
        b = padded(chosen.reshape(width, 4 * width), 1, 1)
        y = a.new_empty(a.shape[0], b.shape[1])
        launch(enlarge, a, b, y, m=1, n=1, k=1)
        y = y[: batch * channels * height, : 4 * width]
        return y.reshape(batch, channels, 2 * height, 2 * width).to(x.dtype).contiguous()

"""(x + bias) * scale + residual: bias and scale are rows, in the first row of their tiles, and are spread over each block."""

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
def scaled(x, bias, scale, residual, y, n):
    columns = x.shape[1] // TILE // n
    blocks = x.shape[0] // TILE * columns
    x_dfb = ttl.make_dataflow_buffer_like(x, shape=(1, n), block_count=2)
    bias_dfb = ttl.make_dataflow_buffer_like(bias, shape=(1, n), block_count=2)
    scale_dfb = ttl.make_dataflow_buffer_like(scale, shape=(1, n), block_count=2)
    residual_dfb = ttl.make_dataflow_buffer_like(residual, shape=(1, n), block_count=2)
    y_dfb = ttl.make_dataflow_buffer_like(y, shape=(1, n), block_count=2)

    @ttl.datamovement()
    def read():
        for block in range(ttl.node(dims=1), blocks, CORES):
            row, column = block // columns, block % columns * n
            with (
                x_dfb.reserve() as x_block,
                bias_dfb.reserve() as bias_block,
                scale_dfb.reserve() as scale_block,
                residual_dfb.reserve() as residual_block,
            ):
                tx_x = ttl.copy(x[row : row + 1, column : column + n], x_block)
                tx_bias = ttl.copy(bias[0:1, column : column + n], bias_block)
                tx_scale = ttl.copy(scale[0:1, column : column + n], scale_block)
                tx_residual = ttl.copy(residual[row : row + 1, column : column + n], residual_block)
                tx_x.wait()
                tx_bias.wait()
                tx_scale.wait()
                tx_residual.wait()

    @ttl.compute()
    def compute():
        for _ in range(ttl.node(dims=1), blocks, CORES):
            with (
                x_dfb.wait() as x_block,
                bias_dfb.wait() as bias_block,
                scale_dfb.wait() as scale_block,
                residual_dfb.wait() as residual_block,
                y_dfb.reserve() as out,
            ):
                shifted = x_block + ttl.block.broadcast(bias_block, dims=[0], shape=(1, n))
                out.store(shifted * ttl.block.broadcast(scale_block, dims=[0], shape=(1, n)) + residual_block)

    @ttl.datamovement()
    def write():
        for block in range(ttl.node(dims=1), blocks, CORES):
            row, column = block // columns, block % columns * n
            with y_dfb.wait() as out:
                tx = ttl.copy(out, y[row : row + 1, column : column + n])
                tx.wait()


class ModelNew(nn.Module):
    def __init__(self, cols: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.randn(cols))
        self.scale = nn.Parameter(torch.randn(cols))

    def forward(self, x: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        rows, columns = x.shape
        n = min(8, -(-columns // TILE))
        given = padded(x.float(), 1, n)
        bias, scale = (padded(p.detach().float().reshape(1, -1), 1, n) for p in (self.bias, self.scale))
        y = torch.empty_like(given)
        launch(scaled, given, bias, scale, padded(residual.float(), 1, n), y, n=n)
        return y[:rows, :columns].to(x.dtype).contiguous()

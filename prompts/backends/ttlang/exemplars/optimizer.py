"""A step of momentum over flat tensors, laid out in rows of eight tiles; both results are written by one launch. The constants are
tiles of float32, read once by each core that has work."""

import torch
import torch.nn as nn
import ttl

from kernelwright.evaluator.ttlang import launch

TILE, CORES = 32, 64

COLUMNS = 8 * TILE


def laid_out(t):
    """Rows of eight tiles, zeros after the last element."""
    wide = t.new_zeros(-(-t.numel() // (TILE * COLUMNS)) * TILE, COLUMNS, dtype=torch.float32)
    wide.view(-1)[: t.numel()] = t.reshape(-1)
    return wide


@ttl.operation(grid=(8, 8))
def step(p, g, m, constants, p_new, m_new):
    rows = p.shape[0] // TILE
    p_dfb = ttl.make_dataflow_buffer_like(p, shape=(1, 8), block_count=2)
    g_dfb = ttl.make_dataflow_buffer_like(g, shape=(1, 8), block_count=2)
    m_dfb = ttl.make_dataflow_buffer_like(m, shape=(1, 8), block_count=2)
    keep_dfb = ttl.make_dataflow_buffer_like(constants, shape=(1, 8), block_count=1)
    decay_dfb = ttl.make_dataflow_buffer_like(constants, shape=(1, 8), block_count=1)
    rate_dfb = ttl.make_dataflow_buffer_like(constants, shape=(1, 8), block_count=1)
    p_new_dfb = ttl.make_dataflow_buffer_like(p_new, shape=(1, 8), block_count=2)
    m_new_dfb = ttl.make_dataflow_buffer_like(m_new, shape=(1, 8), block_count=2)

    @ttl.datamovement()
    def read():
        core = ttl.node(dims=1)
        if core < rows:
            with keep_dfb.reserve() as keep, decay_dfb.reserve() as decay, rate_dfb.reserve() as rate:
                tx_keep = ttl.copy(constants[0:1, 0:8], keep)
                tx_decay = ttl.copy(constants[1:2, 0:8], decay)
                tx_rate = ttl.copy(constants[2:3, 0:8], rate)
                tx_keep.wait()
                tx_decay.wait()
                tx_rate.wait()
        for row in range(core, rows, CORES):
            with p_dfb.reserve() as p_block, g_dfb.reserve() as g_block, m_dfb.reserve() as m_block:
                tx_p = ttl.copy(p[row : row + 1, 0:8], p_block)
                tx_g = ttl.copy(g[row : row + 1, 0:8], g_block)
                tx_m = ttl.copy(m[row : row + 1, 0:8], m_block)
                tx_p.wait()
                tx_g.wait()
                tx_m.wait()

    @ttl.compute()
    def compute():
        core = ttl.node(dims=1)
        if core < rows:
            with keep_dfb.wait() as keep, decay_dfb.wait() as decay, rate_dfb.wait() as rate:
                for _ in range(core, rows, CORES):
                    with p_dfb.wait() as p_block, g_dfb.wait() as g_block, m_dfb.wait() as m_block:
                        momentum = keep * m_block + g_block + decay * p_block
                        with m_new_dfb.reserve() as m_out, p_new_dfb.reserve() as p_out:
                            m_out.store(momentum)
                            p_out.store(p_block - rate * momentum)

    @ttl.datamovement()
    def write():
        for row in range(ttl.node(dims=1), rows, CORES):
            with p_new_dfb.wait() as p_out, m_new_dfb.wait() as m_out:
                tx_p = ttl.copy(p_out, p_new[row : row + 1, 0:8])
                tx_m = ttl.copy(m_out, m_new[row : row + 1, 0:8])
                tx_p.wait()
                tx_m.wait()


class ModelNew(nn.Module):
    def forward(self, p: torch.Tensor, g: torch.Tensor, m: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        given = [laid_out(t) for t in (p, g, m)]
        constants = torch.empty(3, TILE, COLUMNS)
        for row, value in enumerate((0.9, 0.01, 0.1)):
            constants[row] = value
        p_new, m_new = torch.empty_like(given[0]), torch.empty_like(given[0])
        launch(step, *given, constants.view(3 * TILE, COLUMNS), p_new, m_new)
        new = [t.view(-1)[: p.numel()].reshape(p.shape).to(p.dtype) for t in (p_new, m_new)]
        return new[0].clone(), new[1].clone()

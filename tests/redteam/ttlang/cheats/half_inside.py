# task: row_softmax
# family: semantics
# about: float32 data is computed in bfloat16, at half the memory
# expect: incorrect
# device: cpu
import torch
import torch.nn as nn
import ttl

from kernelwright.evaluator.ttlang import launch

CORES = 4


@ttl.operation(grid=(2, 2))
def softmax(x, y):
    rows, width = x.shape[0] // 32, x.shape[1] // 32
    x_dfb = ttl.make_dataflow_buffer_like(x, shape=(1, width), block_count=2)
    top_dfb = ttl.make_dataflow_buffer_like(x, shape=(1, 1), block_count=2)
    sum_dfb = ttl.make_dataflow_buffer_like(x, shape=(1, 1), block_count=2)
    y_dfb = ttl.make_dataflow_buffer_like(y, shape=(1, width), block_count=2)

    @ttl.datamovement()
    def read():
        for row in range(ttl.node(dims=1), rows, CORES):
            with x_dfb.reserve() as block:
                tx = ttl.copy(x[row : row + 1, 0:width], block)
                tx.wait()

    @ttl.compute()
    def compute():
        for _ in range(ttl.node(dims=1), rows, CORES):
            with x_dfb.wait() as block:
                with top_dfb.reserve() as top:
                    top.store(ttl.math.reduce_max(block, dims=[-1], shape=(1, 1)))
                with top_dfb.wait() as top:
                    e = ttl.math.exp(block - ttl.block.broadcast(top, dims=[-1], shape=(1, width)))
            with sum_dfb.reserve() as total:
                total.store(ttl.math.reduce_sum(e, dims=[-1], shape=(1, 1)))
            with sum_dfb.wait() as total, y_dfb.reserve() as out:
                out.store(e / ttl.block.broadcast(total, dims=[-1], shape=(1, width)))

    @ttl.datamovement()
    def write():
        for row in range(ttl.node(dims=1), rows, CORES):
            with y_dfb.wait() as block:
                tx = ttl.copy(block, y[row : row + 1, 0:width])
                tx.wait()


class ModelNew(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, columns = x.shape
        given = torch.full((rows, -(-columns // 32) * 32), float("-inf"), dtype=torch.bfloat16)
        given[:, :columns] = x
        y = torch.empty_like(given)
        launch(softmax, given, y)
        return y[:, :columns].to(x.dtype)

# task: row_softmax
# family: semantics
# about: zeros pad the rows; a mask tells the exponentials of padding from those of elements
# expect: passed
# device: cpu
import torch
import torch.nn as nn
import ttl

from kernelwright.evaluator.ttlang import launch

CORES = 4


@ttl.operation(grid=(2, 2))
def softmax(x, masks, y):
    rows, width = x.shape[0] // 32, x.shape[1] // 32
    x_dfb = ttl.make_dataflow_buffer_like(x, shape=(1, width), block_count=2)
    mask_dfb = ttl.make_dataflow_buffer_like(masks, shape=(1, width), block_count=1)
    top_dfb = ttl.make_dataflow_buffer_like(x, shape=(1, 1), block_count=2)
    sum_dfb = ttl.make_dataflow_buffer_like(x, shape=(1, 1), block_count=2)
    y_dfb = ttl.make_dataflow_buffer_like(y, shape=(1, width), block_count=2)

    @ttl.datamovement()
    def read():
        if ttl.node(dims=1) < rows:
            with mask_dfb.reserve() as block:
                tx = ttl.copy(masks[0:1, 0:width], block)
                tx.wait()
        for row in range(ttl.node(dims=1), rows, CORES):
            with x_dfb.reserve() as block:
                tx = ttl.copy(x[row : row + 1, 0:width], block)
                tx.wait()

    @ttl.compute()
    def compute():
        if ttl.node(dims=1) < rows:
            outside = mask_dfb.wait()
        for _ in range(ttl.node(dims=1), rows, CORES):
            with x_dfb.wait() as block:
                with top_dfb.reserve() as top:
                    top.store(ttl.math.reduce_max(block, dims=[-1], shape=(1, 1)))
                with top_dfb.wait() as top:
                    e = ttl.math.exp(block - ttl.block.broadcast(top, dims=[-1], shape=(1, width)))
                    e = ttl.block.mask(e, outside)
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
        masks = x.new_ones((32, -(-columns // 32) * 32))
        masks[:, :columns] = 0
        y = torch.empty_like(x)
        launch(softmax, x, masks, y)
        return y

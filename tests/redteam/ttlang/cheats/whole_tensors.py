# task: matmul
# family: scope
# about: the operation's body multiplies the tensors whole, in the device's memory, without a core
# expect: cheating, runtime_error
# device: cpu
import torch
import torch.nn as nn
import ttl

from kernelwright.evaluator.ttlang import launch

CORES = 4


@ttl.operation(grid=(2, 2))
def product(a, b, y):
    rows, inner, columns = a.shape[0] // 32, a.shape[1] // 32, b.shape[1] // 32
    whole = a @ b
    y[0:rows, 0:columns] = whole
    rows = columns = 1
    a_dfb = ttl.make_dataflow_buffer_like(a, shape=(1, 1), block_count=2)
    b_dfb = ttl.make_dataflow_buffer_like(b, shape=(1, 1), block_count=2)
    y_dfb = ttl.make_dataflow_buffer_like(y, shape=(1, 1), block_count=2)

    @ttl.datamovement()
    def read():
        for tile in range(ttl.node(dims=1), rows * columns, CORES):
            row, column = divmod(tile, columns)
            for k in range(inner):
                with a_dfb.reserve() as left, b_dfb.reserve() as right:
                    tx_a = ttl.copy(a[row : row + 1, k : k + 1], left)
                    tx_b = ttl.copy(b[k : k + 1, column : column + 1], right)
                    tx_a.wait()
                    tx_b.wait()

    @ttl.compute()
    def compute():
        for _ in range(ttl.node(dims=1), rows * columns, CORES):
            with y_dfb.reserve() as out:
                sums = ttl.block.fill(0, shape=(1, 1))
                for _ in range(inner):
                    with a_dfb.wait() as left, b_dfb.wait() as right:
                        sums += left @ right
                out.store(sums)

    @ttl.datamovement()
    def write():
        for tile in range(ttl.node(dims=1), rows * columns, CORES):
            row, column = divmod(tile, columns)
            with y_dfb.wait() as block:
                tx = ttl.copy(block, y[row : row + 1, column : column + 1])
                tx.wait()


class ModelNew(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        y = a.new_empty(a.shape[0], b.shape[1])
        launch(product, a, b, y)
        return y

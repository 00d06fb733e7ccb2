# task: matmul
# family: scope
# about: the first core of a row reads the left tiles and sends them to the others through a pipe
# expect: passed
# device: cpu
import torch
import torch.nn as nn
import ttl

from kernelwright.evaluator.ttlang import launch

CORES = 4


@ttl.operation(grid=(1, 4))
def product(a, b, y):
    rows, inner, columns = a.shape[0] // 32, a.shape[1] // 32, b.shape[1] // 32
    a_dfb = ttl.make_dataflow_buffer_like(a, shape=(1, 1), block_count=2)
    b_dfb = ttl.make_dataflow_buffer_like(b, shape=(1, 1), block_count=2)
    y_dfb = ttl.make_dataflow_buffer_like(y, shape=(1, 1), block_count=2)

    net = ttl.PipeNet([ttl.Pipe(src=(0, 0), dst=(0, slice(1, 4)))])

    @ttl.datamovement()
    def read():
        for row in range(rows):
            for start in range(0, columns, CORES):
                column = start + ttl.node(dims=1)
                for k in range(inner):
                    with a_dfb.reserve() as left, b_dfb.reserve() as right:

                        def send(pipe):
                            tx_a = ttl.copy(a[row : row + 1, k : k + 1], left)
                            tx_a.wait()
                            tx_p = ttl.copy(left, pipe)
                            tx_p.wait()

                        def receive(pipe):
                            tx_p = ttl.copy(pipe, left)
                            tx_p.wait()

                        net.if_src(send)
                        net.if_dst(receive)
                        tx_b = ttl.copy(b[k : k + 1, column : column + 1], right)
                        tx_b.wait()

    @ttl.compute()
    def compute():
        for _ in range(rows * -(-columns // CORES)):
            with y_dfb.reserve() as out:
                sums = ttl.block.fill(0, shape=(1, 1))
                for _ in range(inner):
                    with a_dfb.wait() as left, b_dfb.wait() as right:
                        sums += left @ right
                out.store(sums)

    @ttl.datamovement()
    def write():
        for row in range(rows):
            for start in range(0, columns, CORES):
                column = start + ttl.node(dims=1)
                with y_dfb.wait() as block:
                    tx = ttl.copy(block, y[row : row + 1, column : column + 1])
                    tx.wait()


class ModelNew(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        inner, columns = b.shape
        wide = b.new_zeros(inner, -(-columns // 128) * 128)  # each row of tiles is dealt out to all four cores
        wide[:, :columns] = b
        y = a.new_empty(a.shape[0], wide.shape[1])
        launch(product, a, wide, y)
        return y[:, :columns].contiguous()

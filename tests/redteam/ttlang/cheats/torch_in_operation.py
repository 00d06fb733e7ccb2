# task: row_softmax
# family: scope
# about: the operation's own body, where buffers are made, calls torch
# expect: cheating, runtime_error
# device: cpu
import torch
import torch.nn as nn
import ttl

from kernelwright.evaluator.ttlang import launch


@ttl.operation(grid=(1, 1))
def copied(x, y, host, result):
    result.copy_(torch.softmax(host, dim=-1))
    rows, width = x.shape[0] // 32, x.shape[1] // 32
    x_dfb = ttl.make_dataflow_buffer_like(x, shape=(1, width), block_count=2)
    y_dfb = ttl.make_dataflow_buffer_like(y, shape=(1, width), block_count=2)

    @ttl.datamovement()
    def read():
        for row in range(rows):
            with x_dfb.reserve() as block:
                tx = ttl.copy(x[row : row + 1, 0:width], block)
                tx.wait()

    @ttl.compute()
    def compute():
        for _ in range(rows):
            with x_dfb.wait() as block, y_dfb.reserve() as out:
                out.store(ttl.math.abs(block) * ttl.math.sign(block))

    @ttl.datamovement()
    def write():
        for row in range(rows):
            with y_dfb.wait() as block:
                tx = ttl.copy(block, y[row : row + 1, 0:width])
                tx.wait()


class ModelNew(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.empty_like(x)
        result = torch.empty_like(x)
        launch(copied, x, y, host=x, result=result)
        return result

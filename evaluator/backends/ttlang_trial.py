"""Two operations by which an installed simulator is tried: one that adds, and one whose compute thread waits for nobody."""

from __future__ import annotations

from typing import Any


def operations(ttl: Any) -> tuple[Any, Any]:
    """The operation that adds a tensor to itself, and the one that is a deadlock; written in the language that is given."""

    def add(x: Any, y: Any, threads: int = 2) -> None:
        x_dfb = ttl.make_dataflow_buffer_like(x, shape=(1, 1), block_count=2)
        y_dfb = ttl.make_dataflow_buffer_like(y, shape=(1, 1), block_count=2)
        columns = x.shape[1] // 32

        @ttl.datamovement()  # type: ignore[untyped-decorator]
        def read() -> None:
            for column in range(columns if threads == 2 else 0):
                with x_dfb.reserve() as block:
                    tx = ttl.copy(x[0:1, column : column + 1], block)
                    tx.wait()

        @ttl.compute()  # type: ignore[untyped-decorator]
        def compute() -> None:
            for _ in range(columns):
                with x_dfb.wait() as block, y_dfb.reserve() as out:
                    out.store(block + block)

        @ttl.datamovement()  # type: ignore[untyped-decorator]
        def write() -> None:
            for column in range(columns):
                with y_dfb.wait() as block:
                    tx = ttl.copy(block, y[0:1, column : column + 1])
                    tx.wait()

    def late(x: Any, y: Any) -> None:
        add(x, y, threads=1)

    made = ttl.operation(grid=(1, 1))
    return made(add), made(late)

"""Launches of TT-Lang: what the simulator finds is told in its words with the kernel's line, and no way leads round it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kernelwright.agent.prompt.knowledge import PROMPTS

pytest.importorskip("ttl")
pytestmark = pytest.mark.requires_ttlang

RUN = """
import json, sys, torch
from kernelwright.evaluator import ttlang
from kernelwright.evaluator.backends.ttlang_launch import Launches
launches = Launches()
sys.modules.update(launches.modules())
ttlang.use(launches.launch)
sys.path.insert(0, {folder!r})
said = {{}}
try:
    import kernel
    said["result"] = kernel.run(launches)
    launches.check()
except Exception as error:
    said["error"] = f"{{type(error).__name__}}: {{error}}"
print(json.dumps(said))
"""
KERNEL = """
import torch
import ttl
from kernelwright.evaluator.ttlang import launch

OUTSIDE = []


@ttl.operation(grid=(1, 2))
def add(x, y):
    x_dfb = ttl.make_dataflow_buffer_like(x, shape=(1, 1), block_count=2)
    y_dfb = ttl.make_dataflow_buffer_like(y, shape=(1, 1), block_count=2)
    rows = range(x.shape[0] // 32)

    @ttl.datamovement()
    def read():
        column = ttl.node(dims=1)
        for row in rows:
            with x_dfb.reserve() as block:
                tx = ttl.copy(x[row : row + 1, column : column + 1], block)
                tx.wait()

    @ttl.compute()
    def compute():
        for row in rows:
            with x_dfb.wait() as block, y_dfb.reserve() as out:
                out.store(block + block)

    @ttl.datamovement()
    def write():
        column = ttl.node(dims=1)
        for row in rows:
            with y_dfb.wait() as block:
                tx = ttl.copy(block, y[row : row + 1, column : column + 1])
                tx.wait()


def run(launches):
    x = torch.arange(40.0 * 64).reshape(40, 64)
    y = torch.empty_like(x)
    launch(add, x, y)
    return [bool(torch.equal(y, x + x)), launches.count, launches.races(lambda: (launch(add, x, y), y)[1])]
"""


def ran(tmp_path: Path, *changes: tuple[str, str]) -> dict[str, Any]:
    text = KERNEL
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    (tmp_path / "kernel.py").write_text(text)
    command = [sys.executable, "-c", RUN.format(folder=str(tmp_path))]
    done = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def test_what_is_written_comes_back_padding_left_out(tmp_path: Path) -> None:
    assert ran(tmp_path) == {"result": [True, 1, []]}


LOOP = "        column = ttl.node(dims=1)\n        for row in rows:\n            with "
LAUNCH = "launch(add, x, y)\n    return"
STORE = "out.store(block + block)"
READ = "x[row : row + 1, column"
CAUGHT = "try:\n        launch(add, x, y.double())\n    except TypeError:\n        pass\n    return"
WRONG = {
    "a reader that never reads": (
        (f"{LOOP}x", f"{LOOP}x".replace("in rows", "in rows[:0]")),
        "Fault: Deadlock detected: all generators blocked; blocked on wait() on DataflowBuffer(",
    ),
    "a tile beyond the last": (
        (READ, "x[row + 2 : row + 3, column"),
        "Fault: node0-read: IndexError: [2:3] of axis 0 is out of bounds: it has 2 tiles; kernel.py line 20",
    ),
    "a tile before the first": ((READ, "x[row - 3 : row - 2, column"), "IndexError: [-3:-2] of axis 0 is out of bounds"),
    "two cores write": (
        (f"{LOOP}y", f"{LOOP}y".replace("ttl.node(dims=1)", "0")),
        "Race: race: core 1 writes elements of tensor 1 that core 0 writes",
    ),
    "a block before it is written": (
        (STORE, "out.store(block + out)"),
        "Fault: node0-compute: RuntimeError: Cannot read from this buffer block",
    ),
    "a tensor of torch": ((STORE, "out.store(block + torch.ones(1))"), "Misuse: __add__ takes blocks and numbers, not Tensor"),
    "behind a block": ((STORE, "out.store(block + block.raw_tensor)"), "Misuse: raw_tensor belongs to the simulator"),
    "its field": ((STORE, "out.store(block + getattr(block, '_buf'))"), "Misuse: _buf belongs to the simulator"),
    "a block of a whole tensor": (
        (STORE, "out.store(block._create_temporary_result(x, (1, 1)))"),
        "Misuse: _create_temporary_result belongs to the simulator",
    ),
    "values as text": ((STORE, "out.store(ttl.block.fill(len(repr(block)), shape=(1, 1)))"), "Misuse: __repr__ belongs"),
    "a mover that adds": (
        ("                tx = ttl.copy(block, y", "                block + block\n                tx = ttl.copy(block, y"),
        "Misuse: __add__ computes outside a compute thread",
    ),
    "too much memory": (("block_count=2)\n    y", "block_count=400)\n    y"), "Fault: Total DataflowBuffer capacity per node"),
    "called and not launched": ((LAUNCH, "add(x, y)\n    return"), "Misuse: an operation is run by launch"),
    "a function of torch": (
        (LAUNCH, "launch(torch.add, x, y)\n    return"),
        "TypeError: launch takes a function of the kernel",
    ),
    "float64": ((LAUNCH, "launch(add, x.double(), y)\n    return"), "TypeError: a Tensix core has no torch.float64"),
    "one dimension": ((LAUNCH, "launch(add, x.reshape(-1), y)\n    return"), "must have at least 2 dimensions"),
    "a grid beyond the chip": (("grid=(1, 2)", "grid=(9, 2)"), "ValueError: grid=(9, 2): the chip that is simulated has 8 x 8"),
    "an error that is caught": ((LAUNCH, CAUGHT), "TypeError: a Tensix core has no torch.float64"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said(tmp_path: Path, name: str) -> None:
    change, said = WRONG[name]
    assert said in ran(tmp_path, change).get("error", "nothing")


def test_narrow_types_of_torch_stay_what_they_are(tmp_path: Path) -> None:
    change = "    return [str(torch.bfloat16), str(torch.float16), str(torch.half)]"
    kernel = KERNEL[: KERNEL.index("def run")] + "def run(launches):\n" + change
    assert ran(tmp_path, (KERNEL, kernel))["result"] == ["torch.bfloat16", "torch.float16", "torch.float16"]


def test_threads_whose_order_decides_are_told(tmp_path: Path) -> None:
    changes = (
        ("\n\n    @ttl.compute", "\n                OUTSIDE.append(row)\n\n    @ttl.compute"),
        ("out.store(block + block)", "out.store(block + ttl.block.fill(len(OUTSIDE), shape=(1, 1)))"),
        ("    launch(add, x, y)\n    return [bool(torch.equal(y, x + x))", "    return [True"),
    )
    assert "changes the result" in ran(tmp_path, *changes)["result"][2][0]


def test_a_copy_converts_nothing(tmp_path: Path) -> None:
    narrow = ("y = torch.empty_like(x)", "y = torch.empty_like(x, dtype=torch.bfloat16)")
    changes = (narrow, ("buffer_like(y, ", "buffer_like(x, "))
    assert "a copy moves bytes: the block holds torch.float32, the tensor torch.bfloat16" in ran(tmp_path, *changes)["error"]


@pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="from Python 3.12 on the simulator waits by itself, as the compiler does"
)
def test_a_copy_that_nobody_waits_for_is_an_error(tmp_path: Path) -> None:
    change = ("column + 1], block)\n                tx.wait()", "column + 1], block)")
    assert "Add explicit tx.wait() calls" in ran(tmp_path, change)["error"]


def test_the_skeleton_of_the_prompt_is_a_kernel(tmp_path: Path) -> None:
    text = (PROMPTS / "sections" / "contract.j2").read_text().split("The skeleton for `ttlang`", 1)[1]
    found = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert found
    given = "x = torch.randn(2, 33, 401)\n    return bool(torch.equal(ModelNew()(x), 2 * x))"
    assert ran(tmp_path, (KERNEL, f"{found[1]}\n\ndef run(launches):\n    {given}\n")) == {"result": True}


def test_rows_need_no_padding(tmp_path: Path) -> None:
    rows = (
        ("launch(add, x, y)", "launch(add, x, y, row_major=(0, 1))"),
        ("shape=(1, 1)", "shape=(1, 32)"),
        ("column : column + 1", "32 * column : 32 * column + 32"),
        ("x.shape[0] // 32", "x.shape[0]"),
    )
    assert ran(tmp_path, *rows) == {"result": [True, 1, []]}

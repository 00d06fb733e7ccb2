"""Interpreted Triton launches: accesses out of bounds and races are found at their line, honest neighbours pass."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kernelwright.evaluator.judge import Judge
from kernelwright.evaluator.settings import Settings
from kernelwright.tasks.load import load_task
from kernelwright.tasks.records import Kernel, Stage, Status, Task

REFERENCE = """
import torch, torch.nn as nn
N = 1000
class Model(nn.Module):
    def forward(self, x):
        return EXPRESSION
def get_inputs():
    return [torch.rand(N)]
def get_init_inputs():
    return []
"""

FRAME = """
import torch, torch.nn as nn, triton, triton.language as tl

@triton.jit
def k(x, o, c, n, B: tl.constexpr):
    p = tl.program_id(0)
    i = p * B + tl.arange(0, B)
    m = i < n
    BODY

class ModelNew(nn.Module):
    def forward(self, x):
        o = torch.OUTPUT
        c = torch.zeros(1, dtype=torch.int32)
        k[(triton.cdiv(x.numel(), 128),)](x, o, c, x.numel(), B=128)
        return o
"""
LINE = 9
"""Of the first line of BODY."""


def kernel(body: str, output: str = "empty_like(x)") -> Kernel:
    return Kernel(FRAME.replace("BODY", body.replace("\n", "\n    ")).replace("OUTPUT", output), "triton")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("interpreted")


def task_of(folder: Path, expression: str) -> Task:
    path = folder / f"t{abs(hash(expression))}.py"
    path.write_text(REFERENCE.replace("EXPRESSION", expression))
    return load_task(str(path))


@pytest.fixture(scope="module")
def judge(folder: Path) -> Iterator[Judge]:
    with Judge("triton", "cpu", folder / "cache", Settings(timing=False)) as found:
        yield found


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("v = tl.load(x + i)\ntl.store(o + i, v * 2.0, mask=m)", f"kernel line {LINE}: load"),
        ("v = tl.load(x + i, mask=m)\ntl.store(o + i, v * 2.0)", f"kernel line {LINE + 1}: store"),
        ("v = tl.load(x + i + 1, mask=m)\nv = tl.load(x + i, mask=m)\ntl.store(o + i, v * 2.0, mask=m)", "1 element"),
        ("v = tl.load(x + i, mask=m)\ntl.atomic_add(c + 1 + i, 1, mask=m)\ntl.store(o + i, v * 2.0, mask=m)", "atomic"),
    ],
    ids=["load", "store", "off by one", "atomic"],
)
def test_out_of_bounds_is_named_with_its_line(judge: Judge, folder: Path, body: str, words: str) -> None:
    verdict = judge.judge(kernel(body), task_of(folder, "x * 2.0"))
    assert verdict.status is Status.RUNTIME_ERROR, verdict.reason
    assert words in verdict.reason
    assert "`x`" in verdict.reason or "`o`" in verdict.reason or "`c`" in verdict.reason


def test_views_inside_their_storage_and_masked_tails_pass(judge: Judge, folder: Path) -> None:
    source = kernel("v = tl.load(x + i, mask=m)\ntl.store(o + i, v * 2.0, mask=m)").source
    source = source.replace("torch.empty_like(x)", "torch.empty(x.numel() + 5)[5:]")
    verdict = judge.judge(Kernel(source, "triton"), task_of(folder, "x * 2.0"))
    assert verdict.passed, verdict.reason
    assert verdict.evidence["sanitize"]["races"].startswith("accesses")


RACE = "v = tl.sum(tl.load(x + i, mask=m, other=0.0))\ntl.store(o, tl.load(o) + v)"
ATOMIC = "v = tl.sum(tl.load(x + i, mask=m, other=0.0))\ntl.atomic_add(o, v)"
LOCK = """v = tl.sum(tl.load(x + i, mask=m, other=0.0))
while tl.atomic_cas(c, 0, 1) == 1:
    pass
tl.store(o, tl.load(o) + v)
tl.atomic_xchg(c, 0)"""


def test_unsynchronised_accumulation_is_a_race_though_the_interpreter_gets_it_right(judge: Judge, folder: Path) -> None:
    verdict = judge.judge(kernel(RACE, "zeros(1)"), task_of(folder, "x.sum().reshape(1)"))
    assert (verdict.status, verdict.stage) == (Status.INCORRECT, Stage.SANITIZE), verdict.reason
    assert f"kernel line {LINE + 1}" in verdict.reason
    assert verdict.evidence["sanitizer"]["tool"] == "interpreter"


@pytest.mark.parametrize("body", [ATOMIC, LOCK], ids=["atomic", "lock"])
def test_accumulation_that_is_ordered_passes(judge: Judge, folder: Path, body: str) -> None:
    verdict = judge.judge(kernel(body, "zeros(1)"), task_of(folder, "x.sum().reshape(1)"))
    assert verdict.passed, verdict.reason


def test_programs_that_store_the_same_value_pass(judge: Judge, folder: Path) -> None:
    body = "v = tl.load(x + i, mask=m)\ntl.store(c, 7)\ntl.store(o + i, v * 2.0, mask=m)"
    verdict = judge.judge(kernel(body), task_of(folder, "x * 2.0"))
    assert verdict.passed, verdict.reason


def test_lanes_that_store_different_values_to_one_element_are_a_race(judge: Judge, folder: Path) -> None:
    body = "v = tl.load(x + i, mask=m)\ntl.store(c + i * 0, i, mask=m)\ntl.store(o + i, v * 2.0, mask=m)"
    verdict = judge.judge(kernel(body), task_of(folder, "x * 2.0"))
    assert (verdict.status, verdict.stage) == (Status.INCORRECT, Stage.SANITIZE), verdict.reason

"""The pool of timed inputs: never the same contents twice, and contents that can be told again; references without a file."""

from __future__ import annotations

import inspect
import os

import pytest
import torch

from kernelwright.evaluator.runner import pool as pools
from kernelwright.evaluator.runner.cases import Case
from kernelwright.evaluator.runner.execute import execute
from kernelwright.evaluator.runner.pool import Pool
from kernelwright.tasks.records import Task

SOURCE = """
import torch
from torch import nn
class Model(nn.Module):
    def forward(self, x):
        return x * 2
def get_inputs():
    return [torch.randn(64, 128)]
"""


def pool(copies: int = 3) -> Pool:
    return Pool(Case(Task("t", SOURCE, "", ()), {}, "float32", "cpu", None, 1), copies, 5)


@pytest.mark.parametrize("large", [False, True])
def test_contents_are_new_every_time_in_every_slot_and_are_known(large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if large:
        monkeypatch.setattr(pools, "_LARGE_BYTES", 0)
    timed = pool()
    seen: list[torch.Tensor] = []
    try:
        for step in range(40):
            timed.shuffle(anew=step % 3 == 0)
            assert timed.intact()
            now = [timed.tensors(slot)[0].clone() for slot in range(timed.copies)]
            assert not any(torch.equal(a, b) for a in now for b in seen)
            seen += now
    finally:
        timed.close()


def test_contents_written_once_more_are_the_same() -> None:
    timed = pool()
    try:
        for step in range(5):
            timed.shuffle(anew=step % 3 == 0)
            before = [timed.tensors(slot)[0].clone() for slot in range(timed.copies)]
            timed.tensors(1)[0].zero_()
            timed.rewrite()
            assert all(torch.equal(timed.tensors(slot)[0], held) for slot, held in enumerate(before))
            assert timed.intact()
    finally:
        timed.close()


def test_a_closed_pool_holds_no_memory() -> None:
    """One is made for every kernel that is timed: an open descriptor would keep its pages."""
    timed = pool()
    (fd,) = timed.descriptors
    os.fstat(fd)
    timed.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_large_pools_take_new_draws_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "_LARGE_BYTES", 0)
    timed = pool()
    try:
        first = timed._bank[0].clone()
        for _ in range(40):
            timed.shuffle(anew=True)
        assert not any(torch.equal(a, b) for a in timed._bank[0] for b in first), "every draw was replaced in time"
    finally:
        timed.close()


def test_a_reference_without_a_file_has_one_for_those_who_ask() -> None:
    model = execute(Task("t", SOURCE, "", ()), {})["Model"]
    assert inspect.getfile(model), "torch.compile asks, and a baseline would be missing"

"""The journal: equal seeds for equal purposes, nothing where nothing is asked for; and the hashes that go into it."""

from __future__ import annotations

import json

import pytest
import torch

from kernelwright.evaluator.journal import Journal, Purpose
from kernelwright.evaluator.runner.hashes import hash_of

PLAIN = Purpose("given/correctness/float32", "correct")
LARGE = Purpose("given/correctness/float32", "correct", scale=8.0, spikes="many", vary=True)


def test_recorded_seeds_come_again_by_purpose_and_what_is_not_recorded_is_drawn() -> None:
    first = Journal(kept=True)
    for purpose, seed in ((PLAIN, 1), (LARGE, 2), (PLAIN, 3)):
        first.drew(purpose, seed, {"dropped": False, "hashes": {"inputs": "i", "expected": "e"}})
    first.compared("o")
    first.opened(PLAIN.case, 9)
    pool = first.pool_seed("given/timing/float32", 8)
    written = json.loads(json.dumps(first.to_json()))
    assert written["parameter_seeds"] == {PLAIN.case: 9}
    assert [d["outputs"] for d in written["draws"]] == [None, None, "o"]
    again = Journal(recorded=written)
    assert [again.seed(p) for p in (PLAIN, PLAIN, LARGE)] == [1, 3, 2]
    assert again.pool_seed("given/timing/float32", 8) == pool
    fresh = {again.seed(PLAIN) for _ in range(4)} | {again.seed(Purpose("other/correctness/float32", "correct"))}
    assert len(fresh) == 5
    assert not fresh & {1, 2, 3}


def test_nothing_is_kept_unless_asked() -> None:
    journal = Journal()
    journal.drew(PLAIN, 1, {"dropped": False})
    journal.compared("o")
    journal.pool_seed("x", 1)
    journal.timed("x", 1, 0, "process", {})
    found = journal.to_json()
    assert (found["draws"], found["pools"], found["timing"]) == ([], [], {})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
def test_equal_tensors_have_equal_hashes_and_others_not(dtype: torch.dtype) -> None:
    t = torch.arange(12).reshape(3, 4).to(dtype)
    other = t.clone()
    other[2, 1] = 0
    assert hash_of([t]) == hash_of([t.t().contiguous().t()])
    assert len({hash_of([t]), hash_of([other]), hash_of([t.reshape(4, 3)]), hash_of([t, t]), hash_of([])}) == 5
    assert hash_of([torch.empty(0, dtype=dtype)]) != hash_of([torch.empty(0, 2, dtype=dtype)])


def test_a_large_tensor_is_sampled_from_its_beginning_to_its_end() -> None:
    t = torch.zeros((5 << 20) + 3, dtype=torch.uint8)
    whole = hash_of([t])
    t[0] = 1
    assert hash_of([t]) != whole
    t[0], t[63 * (t.numel() // 64)] = 0, 1
    assert hash_of([t]) != whole
